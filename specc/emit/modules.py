"""Print the modules and parameters that hold a model's weights, as assignments in `__init__`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from specc.emit.code import quoted, tuple_text
from specc.ir.graph import Graph, Node, Weight, walk

_DEFAULT_INIT = {"matrix": ("xavier",), "bias": ("zeros",), "table": ("normal", 0.01)}


def layers_of(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield the path of each part of the model and the call that makes it, in the order of the spec."""
    parts: dict[str, dict[str, Weight]] = {}
    for weight in graph.weights.values():
        if weight.kind == "learned":
            parts[weight.path] = {"": weight}
            continue
        path, _, leaf = weight.path.rpartition(".")
        parts.setdefault(path, {})[leaf] = weight
    readers = {path: node for node in walk(graph.nodes) for path in node.weights}
    for path, weights in parts.items():
        first = next(iter(weights.values()))
        call = _call(weights, readers.get(first.path))
        yield path, call + (", frozen=True" if first.frozen else "")


# For a layer that no node uses after the passes: its weights stay in the model, so that checkpoints fit.
_UNREAD: Mapping[str, Any] = {"eps": 1e-5, "momentum": 0.1, "statistics": "running"}


def _call(weights: dict[str, Weight], reader: Node | None) -> str:
    first = next(iter(weights.values()))
    sizes = ", ".join(_count(n) for n in first.shape)
    attrs = reader.attrs if reader is not None else _UNREAD
    match first.kind:
        case "learned":
            return f"layers.learned({sizes}, init={_tuple(first)})"
        case "table":
            return f"layers.Table({sizes}{_init(first)})"
        case "matrix":
            n, width = first.shape
            bias = "" if "bias" in weights else ", bias=False"
            options = f", init={_tuple(first)}" if first.init != _DEFAULT_INIT["matrix"] else ""
            if bias == "" and weights["bias"].init != _DEFAULT_INIT["bias"]:
                options += f", bias_init={_tuple(weights['bias'])}"
            return f"layers.Linear({width}, {n}{bias}{options})"
        case "scale":
            if "running_mean" in weights:
                return f"layers.{_batch_norm(first)}({sizes}, {_statistics(attrs)})"
            return f"layers.LayerNorm({sizes}, {attrs['eps']!r})"
        case "slope":
            if "running_mean" in weights:
                return f"layers.Dice({sizes}, {_statistics(attrs)})"
            return f"layers.PReLU({sizes}, {_tuple(first)})"
        case "buffer" if "counts" in weights:
            return f"layers.Counts({sizes})"
        case "buffer":
            return f"layers.{_batch_norm(first)}({sizes}, {_statistics(attrs)}, affine=False)"
    raise AssertionError(first.kind)


def _batch_norm(weight: Weight) -> str:
    """Return the layer whose weights are such: a vector for all, or one for each group."""
    return "BatchNorm" if len(weight.shape) == 1 else "GroupedBatchNorm"


def _statistics(attrs: Mapping[str, Any]) -> str:
    kind = attrs["statistics"]
    return f"{attrs['eps']!r}, {attrs['momentum']!r}" + ("" if kind == "running" else f", {kind!r}")


def _init(weight: Weight) -> str:
    return "" if weight.init == _DEFAULT_INIT[weight.kind] else f", {_tuple(weight)}"


def _tuple(weight: Weight) -> str:
    return tuple_text([quoted(p) if isinstance(p, str) else repr(p) for p in weight.init])


def _count(number: int) -> str:
    """Return a size with digits grouped: 1_000_000."""
    return f"{number:_}" if number >= 10_000 else str(number)
