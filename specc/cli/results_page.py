"""An evaluation as an HTML report: metrics and their curves, slices, and how the model learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from specc import pages
from specc.cli.results import WHO, many
from specc.pages import Series

if TYPE_CHECKING:
    from specc_runtime.train import Evaluation
    from specc_runtime.train.metrics import Measured

DRAWN = 5  # slices of a column that have curves; a table has all
_CHANCE = Series("by chance", [(0, 0), (1, 1)], dashed=True)


def page(model: str, data: Sequence[str], found: Evaluation, told: Sequence[Mapping[str, Any]]) -> str:
    """Return the report. told: what training kept in metrics.jsonl."""
    from specc_runtime.train.metrics import metric_of

    blocks = [_prediction(name, of) for name, of in found.whole.items()]
    blocks += [_sliced(column, parts) for column, parts in found.by.items()]
    if any(share > 0 for share in found.unknown.values()):
        rows = [[table, f"{100 * share:.3g} %"] for table, share in found.unknown.items()]
        blocks.append(
            pages.section(
                "Keys that the training data did not have",
                pages.table(["table", "unknown values"], rows, "They share one row of the table."),
            )
        )
    if told:
        blocks.append(pages.section("How it learnt", pages.figures(*_learning(told))))
    names = dict.fromkeys(name for of in found.whole.values() for m in of.values() for name in m.metrics)
    explained = [[n, metric_of(n).says, "more" if metric_of(n).higher else "less"] for n in names]
    blocks.append(pages.section("What the metrics are", pages.table(["metric", "", "better is"], explained)))
    return pages.page(f"{model}, evaluated", *blocks, about=f"{many(found)} of {', '.join(data)}")


def _prediction(name: str, of: Mapping[str, Measured]) -> str:
    model = of["model"]
    metrics = list(dict.fromkeys(m for one in of.values() for m in one.metrics))
    rows = [[WHO.get(who, who), *(m.metrics.get(metric) for metric in metrics)] for who, m in of.items()]
    counts = model.counts
    lines = [f"{counts['examples']:,} examples have a label"]
    if "groups" in counts:
        lines.append(
            f"{counts['groups']:,} groups, {counts['one_class']:,} of one class and "
            f"{counts['without_positive']:,} without a positive"
        )
    drawn = [*_two_classes({WHO.get(who, who): m for who, m in of.items() if who != "mean"})]
    return pages.section(
        name,
        pages.paragraph("; ".join(lines) + ".", soft=True),
        pages.table(["", *metrics], rows),
        pages.figures(*drawn) if drawn else "",
    )


def _two_classes(of: Mapping[str, Measured]) -> list[str]:
    """Draw ROC, precision and recall, and calibration of those that have them."""
    roc, precision, calibrated = [], [], []
    for name, measured in of.items():
        curve = measured.curve
        if curve is None or not curve.points[-1].all():
            continue
        positives, negatives = curve.points[-1].tolist()
        points = curve.points.tolist()
        roc.append(Series(name, [(fp / negatives, tp / positives) for tp, fp in points]))
        precision.append(Series(name, [(tp / positives, tp / (tp + fp)) for tp, fp in points if tp + fp]))
        if len(curve.bins):
            calibrated.append(Series(name, [(p, share) for p, share, _ in curve.bins.tolist()]))
    if not roc:
        return []
    found = [
        pages.plot(
            "ROC",
            [*roc, _CHANCE],
            x="share of negatives above",
            y="share of positives above",
            xs=(0, 1),
            ys=(0, 1),
            about="how many of both labels lie above each threshold",
        ),
        pages.plot(
            "Precision and recall",
            precision,
            x="recall",
            y="precision",
            xs=(0, 1),
            ys=(0, 1),
            about="of those above each threshold, how many are positive",
        ),
    ]
    if calibrated:
        most = max(max(a, b) for series in calibrated for a, b in series.points) or 1.0
        exact = Series("as predicted", [(0, 0), (most, most)], dashed=True)
        found.append(
            pages.plot(
                "Calibration",
                [*calibrated, exact],
                x="predicted",
                y="share of positives",
                xs=(0, most),
                ys=(0, most),
                about="bins of equally many examples, by prediction",
            )
        )
    return found


def _sliced(column: str, parts: Mapping[str, Mapping[str, Mapping[str, Measured]]]) -> str:
    blocks = []
    for name in dict.fromkeys(name for part in parts.values() for name in part):
        own = {value: part[name]["model"] for value, part in parts.items() if name in part}
        own = dict(sorted(own.items(), key=lambda one: -one[1].counts["examples"]))
        metrics = list(dict.fromkeys(m for one in own.values() for m in one.metrics))
        rows = [
            [value, m.counts["examples"], *(m.metrics.get(metric) for metric in metrics)]
            for value, m in own.items()
        ]
        blocks.append(pages.table([column, "examples", *metrics], rows, caption=name))
        drawn = _two_classes(dict(list(own.items())[:DRAWN]))
        if drawn:
            blocks.append(pages.figures(*drawn))
    return pages.section(f"By {column}", *blocks)


def _learning(told: Sequence[Mapping[str, Any]]) -> list[str]:
    train = [one for one in told if one["kind"] == "train"]
    valid = [one for one in told if one["kind"] == "valid"]
    found = []
    if train:
        loss = Series("", [(one["step"], one["loss"]) for one in train])
        rate = Series("", [(one["step"], one["lr"]) for one in train if one.get("lr") is not None])
        found.append(pages.plot("Loss", [loss], x="step", about="on the training data"))
        if len({y for _, y in rate.points}) > 1:
            found.append(pages.plot("Learning rate", [rate], x="step"))
    metrics = dict.fromkeys(m for one in valid for of in one["metrics"].values() for m in of)
    for metric in metrics:
        series = [
            Series(name, [(o["epoch"], o["metrics"][name][metric]) for o in valid
                          if metric in o["metrics"].get(name, {})])
            for name in dict.fromkeys(n for one in valid for n in one["metrics"])
        ]  # fmt: skip
        found.append(
            pages.plot(metric, [s for s in series if s.points], x="epoch", about="on the validation data")
        )
    return found
