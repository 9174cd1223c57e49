"""What differs between two models: params, inputs, types, predictions, recipe, memory, and their weights.

Promises: compares what is declared and what the compiler makes of it; no torch is loaded. Of a value that is
computed otherwise the first operation that differs is told, not each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from specc.cli import summary
from specc.cli.computed import computed_otherwise
from specc.driver import Compiled
from specc.elaborate.sharding import SHARDED, sharded
from specc.frozen import dataclass
from specc.ir.graph import Graph, Prediction, Weight
from specc.plan.lengths import Lengths
from specc.plan.memory import predict
from specc.plan.sizes import human
from specc_runtime.carry import carried


@dataclass(frozen=True)
class Side:
    """One of the two: its compiled spec, and the manifest of the folder that it is from, or of the spec.
    training: what a trained model's folder says of how it was trained."""

    name: str
    found: Compiled
    manifest: Mapping[str, Any]
    training: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Change:
    """One thing that differs. before and after: None where only the other side has it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Weights:
    """What becomes of weights when the second starts from the first. kept: paths by how they go over; anew:
    by path the reason; gone: those that only the first has; renamed: from what is new to what has gone and
    had the very same weights."""

    kept: dict[str, list[str]]
    anew: dict[str, str]
    gone: list[str]
    renamed: dict[str, str]


@dataclass(frozen=True)
class Changes:
    """By section what differs, and the weights."""

    sections: dict[str, list[Change]]
    weights: Weights

    def as_data(self) -> dict[str, Any]:
        """Return the changes as JSON has them."""
        return {
            **{name: [asdict(x) for x in found] for name, found in self.sections.items()},
            "weights": asdict(self.weights),
        }


def changes(before: Side, after: Side) -> Changes:
    """Return what differs between two models, in the order in which they are declared."""
    batch = int(after.found.graph.train.get("batch") or 512)
    then, now = _described(before, batch), _described(after, batch)
    sections = {name: _differing(then[name], now[name]) for name in then}
    otherwise = computed_otherwise(before.found.written, after.found.written)
    sections["computed otherwise"] = [Change(name, *pair) for name, pair in otherwise.items()]
    # Weights that one side alone has are told with what carries over.
    sections["initial weights and penalties"] = [
        x for x in sections["initial weights and penalties"] if None not in (x.before, x.after)
    ]
    return Changes(sections, _weights(before, after))


# What a side has under a name: in several parts, of which those that differ are shown.
Parts = tuple[str, ...]


def _differing(then: Mapping[str, Parts], now: Mapping[str, Parts]) -> list[Change]:
    found = []
    for name in dict.fromkeys([*then, *now]):
        old, new = then.get(name), now.get(name)
        if old is not None and new is not None:
            pairs = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
            old, new = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
        if old != new:
            found.append(
                Change(
                    name, *(None if parts is None else ", ".join(filter(None, parts)) for parts in (old, new))
                )
            )
    return found


def _described(side: Side, batch: int) -> dict[str, dict[str, Parts]]:
    """Return by section, by name, what a side has, in words. batch: examples of a step that takes memory."""
    written, graph = side.found.written, side.found.graph
    return {
        "params": {name: (summary.value(v),) for name, v in written.params.items()},
        "inputs": {
            f.path: (
                f"{summary.encoding(f)} {summary.type_of(f)}",
                f"from {f.role}",
                f"column {f.column}" if f.column else "no column",
            )
            for s in written.spaces
            for f in s.fields
        },
        "values": {name: (str(written.node(id).type),) for name, id in written.bindings.items()},
        "predictions": {
            **{p.name: (p.kind, f"label in {summary.label(p)}", *_options(p)) for p in written.predictions},
            **{r.name: ("output", str(written.node(r.node).type)) for r in written.results},
            **{x.name: ("extra loss", "") for x in written.terms},
        },
        "recipe": _recipe(written.train, side.training or {}),
        "places": {
            **{name: (graph.devices[device],) for name, device in graph.places.items()},
            **dict.fromkeys(sharded(graph), (SHARDED, "between processes that train")),
        },
        "initial weights and penalties": {path: _start(weight) for path, weight in written.weights.items()},
        "parameters": {name: (f"{count:,}",) for name, count, _ in summary.parts(graph)},
        f"memory of a step, {batch:,} examples at their bounds": _memory(graph, batch),
    }


def _options(prediction: Prediction) -> Parts:
    """What is said of a prediction's labels and loss, in as many parts for each."""
    return (
        f"{prediction.classes} classes" if prediction.classes else "any number of classes",
        f"positive = {summary.value(prediction.positive)}",
        f"range {summary.value(prediction.range)}" if prediction.range else "any range",
        f"loss {summary.call(prediction.loss)}",
        f"among {prediction.among}" if prediction.among else "",
    )


def _start(weight: Weight) -> Parts:
    """What weights are before a training, and what holds them back in it."""
    per = ", by frequency" if weight.l2_by_frequency else ""
    return (
        summary.call(weight.init),
        f"l2 = {summary.value(weight.l2)}{per}" if weight.l2 else "no l2",
        "frozen" if weight.frozen else "trained",
        f"from {weight.pretrained}" if weight.pretrained else "from no file",
    )


def _recipe(declared: Mapping[str, Any], trained: Mapping[str, Any]) -> dict[str, Parts]:
    """Return the settings of a recipe, defaults among them, those of its optimizer as `optimizer.lr`; what is
    not set is left out. trained: those that a training had, which go before what is declared."""
    # A folder says the optimizer's settings beside the others, and of its epochs what each has given.
    known = {name: setting for name, setting in trained.items() if name not in ("optimizer", "epochs")}
    optimizer = {name: known.get(name, setting) for name, setting in declared["optimizer"].items()}
    others = {name: known.get(name, setting) for name, setting in declared.items() if name != "optimizer"}
    options = optimizer.pop("options")
    name = trained.get("optimizer", optimizer.pop("name"))
    return {"optimizer": (name,), **dict(_flat("", {"optimizer": {**options, **optimizer}, **others}))}


def _flat(start: str, found: Mapping[str, Any]) -> Iterator[tuple[str, Parts]]:
    for name, setting in found.items():
        if isinstance(setting, Mapping):
            yield from _flat(f"{start}{name}.", setting)
        elif setting is not None:
            yield f"{start}{name}", (summary.value(setting),)


def _memory(graph: Graph, batch: int) -> dict[str, Parts]:
    return {
        mode + (f" on {device}" if graph.places else ""): (human(load.total),)
        for mode in ("training", "scoring")
        for device, load in predict(graph, batch, Lengths(), mode).items()
    }


def _weights(before: Side, after: Side) -> Weights:
    given, all_wanted = _shapes(before.manifest["weights"]), _shapes(after.manifest["weights"])
    kept, anew = dict[str, list[str]](), dict[str, str]()
    for path, wanted in all_wanted.items():
        found = carried(path, before.manifest, after.manifest, given.get(path), wanted)
        if found.why is None:
            kept.setdefault(found.how, []).append(path)
        else:
            anew[path] = found.why
    gone = {path: shape for path, shape in given.items() if path not in all_wanted}
    new = {path: shape for path, shape in all_wanted.items() if path not in given}
    return Weights(kept, anew, sorted(gone), _renamed(_by_name(gone, before), _by_name(new, after)))


# The shapes of what a declared name has, by the rest of the path.
Own = dict[str, list[int]]


def _by_name(shapes: Mapping[str, list[int]], side: Side) -> dict[str, Own]:
    """Sort weights by the field that has them, or by the first name of their path."""
    fields = {entry["path"] for entry in side.manifest["fields"]}
    found: dict[str, Own] = {}
    for path, shape in shapes.items():
        name = next((f for f in fields if path.startswith(f"{f}.")), path.partition(".")[0])
        found.setdefault(name, {})[path.removeprefix(name)] = shape
    return found


def _renamed(gone: Mapping[str, Own], new: Mapping[str, Own]) -> dict[str, str]:
    """Return which names have the very weights that one other, which has gone, had."""
    alike = {name: [old for old in gone if gone[old] == own] for name, own in new.items()}
    olds = [old for found in alike.values() for old in found]
    return {name: of[0] for name, of in alike.items() if len(of) == 1 and olds.count(of[0]) == 1}


def _shapes(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[int]]:
    return {entry["path"]: list(entry["shape"]) for entry in entries}
