"""What a sweep has found: a table, the importance of each choice, and the winner as a spec."""

from __future__ import annotations

import html
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna import visualization
from optuna.trial import FrozenTrial, TrialState
from plotly.offline import get_plotlyjs

from specc.sweep.study import SEEDS, Plan, Sweep, confirmed, shown, value_of, winner
from specc.syntax import tree
from specc.types.static import describe
from specc.variants.write import copy_neighbours
from specc_runtime.files import replace_file

_STATES = {TrialState.COMPLETE: "", TrialState.PRUNED: "given up", TrialState.FAIL: "failed"}


def as_data(study: optuna.Study, metric: str) -> dict[str, Any]:
    """Return the trials, the best first, as JSON has them."""
    trials, again = shown(study), confirmed(study)
    return {
        "metric": metric,
        "trials": [
            {
                "number": trial.number,
                "state": _STATES[trial.state] or "trained",
                "value": value_of(trial),
                "again": again.get(trial.number),
                "settings": trial.user_attrs["settings"],
                "epochs": trial.user_attrs.get("epochs"),
                "seconds": trial.user_attrs.get("seconds"),
                "parameters": trial.user_attrs.get("parameters"),
                "why": trial.user_attrs.get("why"),
            }
            for trial in trials
        ],
        "importance": importance(study),
    }


def importance(study: optuna.Study) -> dict[str, float]:
    """Return by choice the share of the metric's variance that it explains; nothing for fewer than four
    trainings. A choice that only some trials had is left out."""
    params = _common(study)
    if not params:
        return {}
    try:
        found = optuna.importance.get_param_importances(study, params=params)
    except (ValueError, RuntimeError):  # all trials are alike
        return {}
    # By the names of the table: a journal has `train.` before every setting of the recipe.
    named = {name for trial in shown(study) for name in trial.user_attrs["settings"]}
    return {n if n in named else n.removeprefix("train."): float(share) for n, share in found.items()}


def _common(study: optuna.Study) -> list[str]:
    """The choices that every training had; none for fewer than four."""
    done = [t for t in shown(study) if t.state == TrialState.COMPLETE]
    return [n for n in done[0].params if all(n in t.params for t in done)] if len(done) >= 4 else []


def varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """Return the settings that are not the same in all trials."""
    names = dict.fromkeys(name for t in trials for name in t.user_attrs["settings"])
    return [n for n in names if len({t.user_attrs["settings"].get(n) for t in trials}) > 1]


def rows(study: optuna.Study, metric: str) -> list[list[str]]:
    """Return the table of trials, a header first: only settings that differ have a column, and other seeds
    where there are some."""
    trials, again = shown(study), confirmed(study)
    names, seeds = varied(trials), [f"{SEEDS} other seeds"] if again else []
    table = [["trial", metric, *seeds, "epochs", "seconds", *names, ""]]
    for trial in trials:
        value, attrs = value_of(trial), trial.user_attrs
        table.append(
            [
                str(trial.number),
                "" if value is None else f"{value:.5f}",
                *(_spread(again[trial.number]) if trial.number in again else "" for _ in seeds),
                str(attrs.get("epochs", "")),
                f"{attrs['seconds']:.1f}" if "seconds" in attrs else "",
                *(attrs["settings"].get(name, "") for name in names),
                _STATES[trial.state] + (f": {attrs['why']}" if "why" in attrs else ""),
            ]
        )
    return table


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.5f} ± {statistics.stdev(values):.5f}"


def write_winner(study: optuna.Study, sweep: Sweep, plan: Plan) -> Path | None:
    """Write the best trial as a spec that extends the one that was swept; none where no trial was finished.

    Raises WriteError, FileError.
    """
    best, base = winner(study), plan.space
    if best is None:
        return None
    again = confirmed(study).get(best.number)
    value = f"{best.value:.5f}" + (f", with {SEEDS} other seeds {_spread(again)}" if again else "")
    copy_neighbours(base.program.main, sweep.folder, "extends")
    settings = best.user_attrs["settings"]
    lines = [
        f"# The best of {len(shown(study))} trials: validation {study.user_attrs['metric']} {value}.",
        f"model {base.program.main.name}_best",
        "",
        f"extends {sweep.spec.stem} {{",
    ]
    for name in base.program.main.named:
        if name in base.order:
            domain = base.param(name).domain
            lines.append(f"  param {name} = {settings[name]}" + (f" in {domain.span.text}" if domain else ""))
    recipe = {n.removeprefix("train."): text for n, text in settings.items() if n not in base.order}
    if recipe:
        lines.append("  " + _train(recipe, plan))
    path = sweep.folder / f"{sweep.spec.stem}_best.arec"
    with replace_file(path) as fresh:
        fresh.write_text("\n".join([*lines, "}"]) + "\n", encoding="utf-8")
    return path


def _train(chosen: dict[str, str], plan: Plan) -> str:
    """The settings of a recipe as a spec writes them: those of the optimizer are its options."""
    recipe = plan.recipe
    own = {n: t for n, t in chosen.items() if n in ("batch", "epochs", "clip", "patience", "precision")}
    options = {n: t for n, t in chosen.items() if n not in own and n != "optimizer"}
    said = [f"{n} = {t}" for n, t in own.items()]
    name = chosen.get("optimizer", recipe.optimizer)
    if options or name != recipe.optimizer:
        same = name == recipe.optimizer
        kept = {n: describe(v) for n, v in recipe.options.items()} if same else {}
        stays = _schedule(plan, ("decay", "warmup", "lazy") if same else ("decay", "warmup"))
        inner = ", ".join(f"{n} = {t}" for n, t in {**kept, **options, **stays}.items())
        said.insert(0, f"optimizer = {name}({inner})")
    return "train { " + ", ".join(said) + " }"


def _schedule(plan: Plan, names: Sequence[str]) -> dict[str, str]:
    """Return what the spec's optimizer is told by those names, as it is written there."""
    entries = {e.ident.name: e.value for train in plan.space.program.main.trains for e in train.entries}
    match entries.get("optimizer"):
        case tree.Call(args=args):
            given = [a for a in args if isinstance(a, tree.Keyword) and a.ident.name in names]
            return {a.ident.name: " ".join(a.value.span.text.split()) for a in given}
    return {}


def write_page(study: optuna.Study, metric: str, title: str, path: Path) -> None:
    """Write the sweep as one HTML file that asks no other host: history, importance, parallel coordinates,
    and the table of trials."""
    done = [t for t in shown(study) if t.state == TrialState.COMPLETE]
    figures = [visualization.plot_optimization_history(study, target_name=metric)] if done else []
    if importance(study):
        figures.append(visualization.plot_param_importances(study, params=_common(study), target_name=metric))
    if len(done) > 1:
        figures.append(visualization.plot_parallel_coordinate(study, target_name=metric))
    drawn = [f"<script>{get_plotlyjs()}</script>"] if figures else []
    drawn += [figure.to_html(full_html=False, include_plotlyjs=False) for figure in figures]
    header, *body = rows(study, metric)
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in body
    )
    page = _PAGE.format(title=html.escape(title), figures="\n".join(drawn), header=cells, body=lines)
    with replace_file(path) as fresh:
        fresh.write_text(page, encoding="utf-8")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }}
div.table {{ overflow-x: auto; }}
</style></head><body><h1>{title}</h1>
{figures}
<div class="table"><table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table></div>
</body></html>
"""
