"""`python -m bench.pages`: what is generated of docs/models: the table of results, each page's own rows of
it, and the pictures of the specs.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path

import click

from bench.quality import (
    BATCH,
    CODES,
    CODES_LOG,
    CONFIRM,
    EPOCHS,
    LOGS,
    PARAMS,
    PLAIN,
    RATES,
    REPO,
    SPECS,
    TRAIN,
    VALID,
    Result,
    results,
)

HOW = f"""\
Each model is swept as [`specc sweep --confirm {CONFIRM}`](../sweeps.md) does it: over the domains of its spec
and Adam's rate, `lr={RATES}`, in batches of {BATCH}, by the AUC of a validation period. A trial learns
from the last {TRAIN:,} examples before that period, for at most {EPOCHS} epochs, and is stopped when the AUC
of the period's first {VALID:,} examples gets no better; from the fifth trial on also when it is below the
median of the earlier ones, which favours models and rates that learn quickly. The best trials are trained
again with three other seeds; the winner by their mean is trained with three more, and these are tested on the
first examples of the test period, {" and ".join(f"{x.test:,} of {x.name}" for x in LOGS)}.

One sampled negative for each event, an item of that day or the one before; item and category 16 channels
each for all. Histories know nothing of what came later. This is no reproduction of the papers' figures, which
come from other data and sizes.

Trials are chosen by AUC, so that a winner may rank well and still be too sure of itself: always saying one
half has a logloss of 0.693.

`pooling` is a perceptron on the plain sum of the history, `fm` a factorisation machine. Parameters are those
beside the tables; seconds are of one epoch on one core of a machine with other work, so they compare only
roughly, and where that work was too much there are none."""
# What there is to say of a log's rows.
NOTES = {
    "taobao": """\
AFM, DIN, DIEN, DSIN and DSTN were swept over `lr=1e-3..3e-2`, drawn evenly; the others since ranges are
drawn by their logarithm. Drawn evenly, no trial of BST's had a rate below 0.0035, and with such rates it
learns next to nothing here: an AUC of 0.542 at best on the validation day. `pooling` learns nothing at any
rate: in none of its trainings was it above 0.507 on that day. It has no operation that compares the candidate
with the history, and popularity tells nothing; `fm`, whose fields are multiplied, is at 0.63 there.""",
    "grocery": """\
The test follows the validation period, and what sells changes: a model has less here than what it was chosen
by. `pooling`, of 0.722 on the validation data, loses a tenth. Six of BST's eight trials learn next to
nothing, 0.532 at most there: those at rates of 0.01 and more, and those of several blocks. Six of
DSIN's learn as little: of those with dropout, all but one.""",
}
MARKS = re.compile(r"(<!-- results -->\n).*?(<!-- end -->)", re.DOTALL)


def write_pages(found: Sequence[Result], folder: Path) -> None:
    """Results, pictures, and the rows of each page between its marks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(results_page(found), encoding="utf-8")
    for model in (m for m in PARAMS if m not in PLAIN):
        (folder / f"{model}.svg").write_text(picture(model), encoding="utf-8")
        page = folder / f"{model}.md"
        if page.is_file():
            rows = "\n".join(own_rows(model, found))
            text = MARKS.sub(lambda m, rows=rows: f"{m[1]}{rows}\n{m[2]}", page.read_text(encoding="utf-8"))
            page.write_text(text, encoding="utf-8")


def picture(model: str) -> str:
    """The spec as `specc show` draws it."""
    from specc.driver import load
    from specc.passes import prepared
    from specc.passes.placement import place
    from specc.show.scene import scene
    from specc.show.svg import svg

    graph, _ = load(SPECS / f"{model}.arec")
    assert graph is not None
    return svg(scene(place(prepared(graph)))).replace(f"{REPO}/", "")


def own_rows(model: str, found: Sequence[Result]) -> list[str]:
    """A model's results on each log."""
    lines = ["| log | AUC | GAUC | logloss | popularity's AUC | seeds |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {r.log} | {r.auc} | {r.gauc} | {r.logloss} | {r.popularity:.4f} | {r.seeds} |"
        for r in found
        if r.model == model
    ]
    return lines


def results_page(found: Sequence[Result]) -> str:
    """The tables as Markdown."""
    lines = [
        "# The seven on real logs",
        "",
        "Made by `python -m bench.quality`; figures are means over seeds ± standard deviation.",
        "",
        HOW,
    ]
    for log in dict.fromkeys(r.log for r in found):
        own = [r for r in found if r.log == log and r.model in PARAMS]
        lines += ["", f"## {log.capitalize()}", ""]
        lines += [f"Item popularity in the training examples alone: AUC {own[0].popularity:.4f}.", ""]
        lines += [
            "| model | AUC | GAUC | logloss | trials, confirmed | best epochs | parameters | s an epoch |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [
            f"| {r.model if r.model in PLAIN else f'[{r.model}]({r.model}.md)'} | {r.auc} | {r.gauc} "
            f"| {r.logloss} | {_search(r)} | {', '.join(map(str, r.epochs or ()))} | {r.parameters:,} "
            f"| {'' if r.seconds is None else f'{r.seconds:.0f}'} |"
            for r in own
        ]
        lines += ["", NOTES[log]] if log in NOTES else []
        lines += ["", *remarks(own)]
        lines += ["", "Settings that won, where they are not the spec's:", ""]
        lines += [f"- {r.model}: {_settings(r)}" for r in own]
    return "\n".join([*lines, *_codes(found)]) + "\n"


def remarks(own: Sequence[Result]) -> list[str]:
    """What a log's figures say against themselves: learning that did not happen, and searches that end where
    they were bounded."""
    chance = [r.model for r in own if r.auc.mean - 2 * r.auc.deviation <= max(0.5, r.popularity)]
    last = [r.model for r in own if statistics.median(r.epochs or (0,)) == EPOCHS]
    low, high = map(float, RATES.split(".."))
    rates = {r.model: float(r.settings["lr"]) for r in own if r.confirmed and "lr" in (r.settings or {})}
    edge = [model for model, rate in rates.items() if not 1.25 * low < rate < high / 1.25]
    said = {
        "No better than chance, or than the popularity of items alone": chance,
        f"Best in the last of {EPOCHS} epochs, so that more of them might give more": last,
        "Best at a rate near an end of its range": edge,
    }
    return [f"- {what}: {', '.join(models)}." for what, models in said.items() if models]


def _search(result: Result) -> str:
    return f"{result.trials}, {result.confirmed}" if result.confirmed else f"{result.trials}"


def _settings(result: Result) -> str:
    return (
        ", ".join(f"`{name} = {value}`" for name, value in (result.settings or {}).items()) or "the defaults"
    )


def _codes(found: Sequence[Result]) -> list[str]:
    """What the published codes give beside the papers."""
    by = {r.model: r for r in found if r.log == CODES_LOG}
    lines = ["", f"## Papers and published codes, {CODES_LOG.capitalize()}", ""]
    lines += [
        "What the code computes beside the paper's equations: a difference is that of the means, and says",
        "little where it is no larger than the deviations, or where only one of the two was swept. A code",
        "of which no trials were confirmed was not swept, but searched by three trials: the spec's defaults",
        "at a rate of 0.001, and two draws from its domains at 0.003 and 0.01, each with one seed, which is",
        "one of the three that the best of them was tested with.",
        "",
        "| code | beside | AUC | difference | logloss | difference | trials, confirmed |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, (_, _, paper) in CODES.items():
        if label in by and paper in by:
            own, other = by[label], by[paper]
            lines.append(
                f"| {label} | {paper} | {own.auc} | {own.auc.mean - other.auc.mean:+.4f} | {own.logloss} "
                f"| {own.logloss.mean - other.logloss.mean:+.4f} | {_search(own)} |"
            )
    return lines


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=REPO / "docs" / "models")
def main(out: Path) -> None:
    """Write what is generated of docs/models from the results of `bench.quality`."""
    write_pages(results(), out)


if __name__ == "__main__":
    main()
