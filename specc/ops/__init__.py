"""What each operation is: one definition for each, with the traits that the rest of the compiler asks for.

Promises: `OPS` has every operation that comes with the compiler, by name; `op` has their names as constants.
Names that other tables are keyed by (meanings, handlers) are checked against it at import.
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
    """Return names of operations as a set. Raises KeyError, at import, for a name that no operation has."""
    found = frozenset(names)
    if unknown := sorted(found - OPS.keys()):
        raise KeyError(f"there is no operation {', '.join(unknown)}")
    return found


def definition(node: Node) -> OpDef:
    """Return the definition of a node's operation."""
    return OPS[node.op]


def traits(node: Node) -> Traits:
    """Return the traits of a node's operation."""
    return OPS[node.op].traits


def effect(node: Node) -> Effect:
    """Return what a node's value depends on beside its inputs, attributes and weights; for a node with a
    region, all that operations in it do."""
    own = OPS[node.op].effect(node.attrs)
    if node.region is not None and own is Effect.PURE:
        inner = (effect(n) for n in node.region.nodes)
        own = next((e for e in inner if e is not Effect.PURE), own)
    return own


def pure(node: Node) -> bool:
    """Return whether a node's value depends on its inputs, attributes and weights alone."""
    return effect(node) is Effect.PURE
