"""`python -m bench.pages`: what is generated of docs/models: the table of results, each page's own rows of
it, and the pictures of the specs.

    python -m bench.pages --runs build/quality/runs.jsonl
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable
from pathlib import Path

import click

from bench.quality import (
    BATCH,
    CODES,
    CODES_LOG,
    EPOCHS,
    LOGS,
    PARAMS,
    PLAIN,
    RATES,
    REPO,
    SPECS,
    TRAIN,
    TRIALS,
    VALID,
    Run,
    kept,
)

HOW = f"""\
Each model has {TRIALS} trials: its spec's defaults, and draws from the domains of its spec; Adam at one of
{", ".join(map(str, RATES))}, batches of {BATCH}. A trial learns from the last {TRAIN:,} examples
before the validation period, for at most {EPOCHS} epochs, and is stopped when the AUC of the first {VALID:,}
examples of that period gets no better. The best trial's settings are trained in the same way with each seed,
and tested on the first examples of the test period, {" and ".join(f"{x.test:,} of {x.name}" for x in LOGS)}.
One sampled negative for each event, item and category 16 channels each for all. Histories know nothing of
what came later. This is no reproduction of the papers' figures, which come from other data and sizes.

`pooling` is a perceptron on the plain sum of the history, `fm` a factorisation machine. Parameters are those
beside the tables; seconds are of one epoch on one core of a machine with other work, so they compare only
roughly."""
MARKS = re.compile(r"(<!-- results -->\n).*?(<!-- end -->)", re.DOTALL)


def write_pages(runs: list[Run], folder: Path) -> None:
    """Results, pictures, and the rows of each page between its marks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(results_page(runs), encoding="utf-8")
    for model in (m for m in PARAMS if m not in PLAIN):
        (folder / f"{model}.svg").write_text(picture(model), encoding="utf-8")
        page = folder / f"{model}.md"
        if page.is_file():
            rows = "\n".join(own_rows(model, runs))
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


def own_rows(model: str, runs: list[Run]) -> list[str]:
    """A model's results on each log."""
    lines = ["| log | AUC | GAUC | logloss | popularity's AUC | seeds |", "|---|---|---|---|---|---|"]
    for log in dict.fromkeys(r.log for r in runs):
        of = [r for r in runs if r.model == model and r.log == log]
        if of:
            lines.append(
                f"| {log} | {_spread(r.auc for r in of)} | {_spread(r.gauc for r in of)} "
                f"| {_spread(r.logloss for r in of)} | {of[0].popularity:.4f} | {len(of)} |"
            )
    return lines


def results_page(runs: list[Run]) -> str:
    """The tables as Markdown."""
    lines = [
        "# The seven on real logs",
        "",
        "Made by `python -m bench.quality`; figures are means over seeds ± standard deviation.",
        "",
        HOW,
    ]
    for log in dict.fromkeys(r.log for r in runs):
        own = [r for r in runs if r.log == log]
        lines += ["", f"## {log.capitalize()}", ""]
        lines += [f"Item popularity in the training examples alone: AUC {own[0].popularity:.4f}.", ""]
        lines += ["| model | AUC | GAUC | logloss | rate, epochs | parameters | s an epoch | seeds |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        for model in PARAMS:
            of = [r for r in own if r.model == model]
            if of:
                name = model if model in PLAIN else f"[{model}]({model}.md)"
                epochs = ", ".join(str(r.epochs) for r in of)
                lines.append(
                    f"| {name} | {_spread(r.auc for r in of)} | {_spread(r.gauc for r in of)} "
                    f"| {_spread(r.logloss for r in of)} | {of[0].lr:g}; {epochs} "
                    f"| {of[0].parameters:,} | {statistics.median(r.seconds for r in of):.0f} | {len(of)} |"
                )
        lines += ["", _above(own), "", "Settings that the trials chose, where they are not the spec's:", ""]
        lines += _chosen(own)
    lines += _codes([r for r in runs if r.log == CODES_LOG])
    return "\n".join(lines) + "\n"


def _above(runs: list[Run]) -> str:
    """Which models are better than popularity whatever the seed."""
    better = [m for m in PARAMS if any(r.model == m for r in runs)
              and all(r.auc > r.popularity for r in runs if r.model == m)]  # fmt: skip
    return f"Above popularity with every seed: {', '.join(better) or 'none'}."


def _chosen(runs: list[Run]) -> list[str]:
    lines = []
    for model in PARAMS:
        of = next((r for r in runs if r.model == model), None)
        if of is not None:
            changed = [f"`{n} = {v}`" for n, v in of.params.items() if PARAMS[model].get(n) != v]
            lines.append(f"- {model}: {', '.join(changed) or 'the defaults'}")
    return lines


def _codes(runs: list[Run]) -> list[str]:
    """What the differences of published codes do, seed by seed beside the paper's."""
    by = {(r.model, r.seed): r for r in runs}
    lines = ["", f"## Papers and published codes, {CODES_LOG.capitalize()}", ""]
    lines += [
        "AUC and logloss of what the code computes, tuned in the same way, and how they differ from the",
        "paper's equations with the same seeds.",
        "",
    ]
    lines += [
        "| code | beside | AUC | difference | logloss | difference | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for label, (_, _, paper) in CODES.items():
        pairs = [(r, by[paper, r.seed]) for r in runs if r.model == label and (paper, r.seed) in by]
        if pairs:
            lines.append(
                f"| {label} | {paper} | {_spread(a.auc for a, _ in pairs)} "
                f"| {_spread(a.auc - b.auc for a, b in pairs)} | {_spread(a.logloss for a, _ in pairs)} "
                f"| {_spread(a.logloss - b.logloss for a, b in pairs)} | {len(pairs)} |"
            )
    return lines


def _spread(values: Iterable[float]) -> str:
    known = list(values)
    spread = f" ± {statistics.stdev(known):.4f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.4f}{spread}"


@click.command()
@click.option("--runs", type=click.Path(exists=True, path_type=Path), default="build/quality/runs.jsonl")
@click.option("--out", type=click.Path(path_type=Path), default=REPO / "docs" / "models")
def main(runs: Path, out: Path) -> None:
    """Write what is generated of docs/models from the figures of `bench.quality`."""
    write_pages(kept(runs)[1], out)


if __name__ == "__main__":
    main()
