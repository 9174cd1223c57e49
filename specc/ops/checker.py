"""What a type rule may ask of whoever has it checked: the verifier of graphs, or the elaborator of a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from specc.types.axis import Axis, Type

if TYPE_CHECKING:
    from specc.ir.graph import FieldSpec, Node, Region, Weight


class Checker(Protocol):
    """`region` is the one that the node stands in, None outside of all; `captures` are its captures' types.
    `states`: by scan, the types of its states."""

    @property
    def weights(self) -> Mapping[str, Weight]: ...

    @property
    def fields(self) -> Mapping[str, FieldSpec]: ...

    @property
    def captures(self) -> tuple[Type, ...]: ...

    @property
    def region(self) -> Region | None: ...

    @property
    def states(self) -> dict[int, tuple[Type, ...]]: ...

    @property
    def types(self) -> Mapping[int, Type]: ...

    def require(self, node: Node, holds: bool, message: str) -> None:
        """Refuse the node unless something holds of it."""

    def shapes(self, node: Node, *expected: tuple[int, ...]) -> None:
        """Refuse the node unless its weights have these shapes."""

    def along(self, node: Node, x: Type, axis: Axis) -> None:
        """Refuse the node unless the axis is one of x's, and no other of x's axes lives in it."""

    def childless(self, node: Node, x: Type, axis: Axis) -> None:
        """Refuse the node if one of x's axes lives in the axis."""

    def broadcast(self, node: Node, *types: Type) -> Type:
        """Return the type of values side by side; widths are equal or 1."""
        ...

    def inside(self, node: Node, axes: tuple[Axis, ...], captures: tuple[Type, ...]) -> Checker:
        """Return the nodes of the node's region, checked."""
        ...
