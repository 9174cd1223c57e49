"""What each operation is: one definition an operation, with the traits that all others ask for.

Promises: `OPS` has every operation that comes with the compiler, by name; `op` has their names as constants.
What is entered by name elsewhere (meanings, handlers) is held against it at import.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from specc.ops import (
    arithmetic,
    axes,
    batches,
    catalogue,
    functions,
    fused,
    layers,
    losses,
    op,
    reading,
    recurrence,
    reductions,
    sources,
    widths,
)
from specc.ops.definition import Effect, OpDef, Origin, Traits

if TYPE_CHECKING:
    from specc.ir.graph import Node

__all__ = [
    "OPS",
    "Effect",
    "OpDef",
    "Origin",
    "Traits",
    "definition",
    "effect",
    "known",
    "op",
    "pure",
    "traits",
]

_GROUPS = (
    sources,
    arithmetic,
    functions,
    widths,
    axes,
    reading,
    reductions,
    layers,
    losses,
    batches,
    catalogue,
    recurrence,
    fused,
)
OPS: dict[str, OpDef] = {definition.name: definition for group in _GROUPS for definition in group.DEFINITIONS}

_named = {value for key, value in vars(op).items() if key.isupper()}
assert _named == set(OPS), _named ^ set(OPS)


def known(names: Iterable[str]) -> frozenset[str]:
    """Some names of operations. Raises KeyError, at import, for one that there is not."""
    found = frozenset(names)
    if unknown := sorted(found - OPS.keys()):
        raise KeyError(f"there is no operation {', '.join(unknown)}")
    return found


def definition(node: Node) -> OpDef:
    """What a node's operation is."""
    return OPS[node.op]


def traits(node: Node) -> Traits:
    """What may be relied on of a node's operation."""
    return OPS[node.op].traits


def effect(node: Node) -> Effect:
    """What a node's value depends on beside its inputs, attributes and weights; of a region, what any
    operation in it does."""
    own = OPS[node.op].effect(node.attrs)
    if node.region is not None and own is Effect.PURE:
        inner = (effect(n) for n in node.region.nodes)
        own = next((e for e in inner if e is not Effect.PURE), own)
    return own


def pure(node: Node) -> bool:
    """Whether a node's value follows from its inputs, attributes and weights alone."""
    return effect(node) is Effect.PURE
