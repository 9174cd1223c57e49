"""An evaluation as text and as JSON: a line for the model and each baseline, and one for each slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from specc.report.table import aligned

if TYPE_CHECKING:
    from specc_runtime.train import Evaluation, Outcome, Recipe
    from specc_runtime.train.metrics import Measured

WHO = {"model": "the model", "popularity": "popularity of the item", "mean": "always the mean"}
SHOWN = 20  # slices of a column in the text
OTHERS = "(others)"  # as specc_runtime.train.slices has it


def as_text(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return a table for each prediction; a metric that somebody does not have is left empty."""
    blocks = []
    for name, found in results.items():
        metrics = _columns(found.values())
        rows = [[name, *metrics]]
        rows += [
            [f"  {WHO.get(who, who)}", *(_number(of.get(m)) for m in metrics)] for who, of in found.items()
        ]
        blocks.append(_aligned(rows))
    return "\n\n".join(blocks)


def described(found: Evaluation) -> str:
    """Return all of an evaluation: how many examples and groups there were, the metrics, and the slices'."""
    blocks = ["\n".join([many(found), *_unknown(found)])]
    for name, of in found.whole.items():
        model = of["model"]
        blocks.append(
            "\n".join([as_text({name: {w: m.metrics for w, m in of.items()}}), *_left_out(found, model)])
        )
    for column, parts in found.by.items():
        blocks.append(_sliced(column, parts) + _crowded(column, parts))
    return "\n\n".join(blocks)


def many(found: Evaluation) -> str:
    """Return how many examples there were."""
    if found.requests is None:
        return f"{found.examples:,} examples"
    return f"{found.requests:,} requests with {found.examples:,} candidates"


def as_json(found: Evaluation) -> dict[str, Any]:
    """Return what `--json` prints: {"examples", "results", "counts", "by": {column: {value: {"results",
    "counts"}}}}, and "requests" where the data are those."""
    return {
        "examples": found.examples,
        **({} if found.requests is None else {"requests": found.requests}),
        **_part(found.whole),
        "unknown": found.unknown,
        "by": {c: {value: _part(part) for value, part in parts.items()} for c, parts in found.by.items()},
    }


def course(outcome: Outcome, recipe: Recipe) -> str:
    """Return what the epochs of a training gave, which was the best, and why there were no more."""
    lines = []
    for entry in outcome.epochs:
        metrics = "".join(
            f"  {name} " + " ".join(f"{metric} {value:.5f}" for metric, value in of.items())
            for name, of in entry.get("valid", {}).items()
        )
        earlier = " (of an earlier run)" if entry["epoch"] <= outcome.before else ""
        lines.append(
            f"epoch {entry['epoch']}: loss {entry['loss']:.5f}  {entry['seconds']:.1f} s{metrics}{earlier}"
        )
    best = outcome.epochs[outcome.best - 1] if outcome.epochs else {}
    if "value" in best:
        by = f"{recipe.metric} on the validation data: {best['value']:.5f}"
        lines.append(f"the best epoch was {outcome.best}, by {by}")
    elif len(outcome.epochs) > 1:
        lines.append("there are no validation data: the model is that of the last epoch")
    if len(outcome.epochs) < recipe.epochs:
        lines.append(
            f"stopped after {len(outcome.epochs)} of {recipe.epochs} epochs: none was better than "
            f"epoch {outcome.best} for {recipe.patience} (--patience)"
        )
    return "\n".join(lines)


def _part(part: Mapping[str, Mapping[str, Measured]]) -> dict[str, Any]:
    return {
        "results": {name: {who: m.metrics for who, m in of.items()} for name, of in part.items()},
        "counts": {name: of["model"].counts for name, of in part.items()},
    }


def _unknown(found: Evaluation) -> list[str]:
    """Return how much of the data the training data did not have."""
    shares = [f"{100 * share:.3g} % of {table}" for table, share in found.unknown.items() if share > 0]
    return [f"unknown to the model: {', '.join(shares)}"] if shares else []


def _left_out(found: Evaluation, model: Measured) -> list[str]:
    """Return what some metrics do not tell."""
    counts, lines = model.counts, []
    without = found.examples - counts["examples"]
    if without:
        what = "examples" if found.requests is None else "candidates"
        lines.append(f"  {without:,} {what} have no label")
    groups = counts.get("groups")
    if groups:
        lines.append(
            f"  {groups:,} groups: gauc leaves out {counts['one_class']:,} of one class, "
            f"ndcg, hit_rate and mrr {counts['without_positive']:,} without a positive"
        )
    return lines


def _sliced(column: str, parts: Mapping[str, Mapping[str, Mapping[str, Measured]]]) -> str:
    """Return a table of the model's metrics by the column's values, the commonest first."""
    blocks = []
    for name in dict.fromkeys(name for part in parts.values() for name in part):
        own = [(value, part[name]["model"]) for value, part in parts.items() if name in part]
        own.sort(key=lambda one: -one[1].counts["examples"])
        metrics = _columns(m.metrics for _, m in own)
        rows = [[f"{name} by {column}", "examples", *metrics]]
        for value, m in own[:SHOWN]:
            numbers = [_number(m.metrics.get(metric)) for metric in metrics]
            rows.append([f"  {_short(value)}", f"{m.counts['examples']:,}", *numbers])
        more = len(own) - SHOWN
        blocks.append(
            _aligned(rows) + (f"\n  and {more:,} more (--json and --html have them)" if more > 0 else "")
        )
    return "\n\n".join(blocks)


def _crowded(column: str, parts: Mapping[str, Any]) -> str:
    if OTHERS not in parts:
        return ""
    return f"\n  {column} has more than {len(parts) - 1:,} values: those met later are {OTHERS}"


def _columns(found: Any) -> list[str]:
    """Return the metrics that somebody has, in the order of those who have most."""
    return list(dict.fromkeys(name for of in sorted(found, key=len, reverse=True) for name in of))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def _short(text: str) -> str:
    text = text.replace("\n", " ")
    return text if len(text) <= 40 else text[:39] + "…"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Align the first column to the left, the others to the right."""
    return "\n".join(aligned(rows, right=range(1, len(rows[0]))))
