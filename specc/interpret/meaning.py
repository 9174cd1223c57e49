"""The table of meanings: for every op what it computes, and the evaluation of nodes by it.

`means` enters a function for one example: (node, its inputs, the setting) -> value.
`means_across` enters one for several examples side by side: (node, the inputs of each, their settings) ->
a value for each. Only batch statistics need that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from specc.interpret.values import Setting, Value
from specc.ir.graph import Node
from specc.ops import OPS
from specc.ops import known as known_operations

Inputs = tuple[Value, ...]
Meaning = Callable[[Node, Inputs, Setting], Value]
Across = Callable[[Node, list[Inputs], list[Setting]], list[Value]]

MEANINGS: dict[str, Meaning] = {}
ACROSS: dict[str, Across] = {}


def means(*names: str) -> Callable[[Meaning], Meaning]:
    """Register what operations mean. Raises KeyError for a name that no operation has."""

    def enter(meaning: Meaning) -> Meaning:
        MEANINGS.update(dict.fromkeys(known_operations(names), meaning))
        return meaning

    return enter


def means_across(*names: str) -> Callable[[Across], Across]:
    """Register what operations mean for several examples side by side. Raises KeyError as `means` does."""

    def enter(meaning: Across) -> Across:
        ACROSS.update(dict.fromkeys(known_operations(names), meaning))
        return meaning

    return enter


def _entered(name: str) -> None:
    """Import the module that registers another package's operation. Raises KeyError if it does not register
    it."""
    if name not in MEANINGS and name not in ACROSS:
        module = OPS[name].meaning
        import_module(module)
        if name not in MEANINGS and name not in ACROSS:
            raise KeyError(f"{module} enters no meaning of `{name}`: `@means({name!r})` does")


def evaluate(nodes: Sequence[Node], settings: Sequence[Setting]) -> list[dict[int, Value]]:
    """Return the value of every node by its id, for each of several examples."""
    known: list[dict[int, Value]] = [{} for _ in settings]
    for node in nodes:
        inputs = [tuple(values[i] for i in node.inputs) for values in known]
        _entered(node.op)
        if node.op in ACROSS and settings:
            results = ACROSS[node.op](node, inputs, list(settings))
        else:
            results = [MEANINGS[node.op](node, x, s) for x, s in zip(inputs, settings, strict=True)]
        for values, result in zip(known, results, strict=True):
            values[node.id] = result
    return known
