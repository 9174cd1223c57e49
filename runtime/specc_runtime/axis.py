"""Ragged axes, and how the lengths of one follow from another's.

Leaves to others: the lengths themselves (`specc_runtime.layout`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from specc_runtime.tracing import once


@dataclass(frozen=True)
class Axis:
    """A ragged axis. Two axes are the same when their ids are.

    bound: the largest length it may have.
    parent: the axis that it is nested in, `CANDIDATE` for an axis of a candidate's features.
    source: for a derived axis, the axis (or the two joined axes) whose lengths it follows.
    change: how its lengths follow from the source's: "same", "shorter", "appended", "joined",
        "taken", "best", "chunks", "parts", "inside", "across"; "given" in the batch, "fixed" at the bound,
        "examples": as many as the batch has.
    number: of chunks and parts how many positions a chunk has; of an axis that came along as its parent was
        moved, how many positions later than the new parent's the old ones are.
    """

    id: str
    bound: int = field(default=0, compare=False)
    parent: Axis | None = field(default=None, compare=False)
    source: tuple[Axis, ...] = field(default=(), compare=False)
    change: str = field(default="given", compare=False)
    number: int = field(default=0, compare=False)

    @once
    def order(self) -> str:
        """The place of the axis among those of a value: by depth, then by id. A text, as torch.compile
        sorts by nothing else."""
        depth, outer = int(self.id != CANDIDATE_ID), self.parent
        while outer is not None:
            depth, outer = depth + int(outer.id != CANDIDATE_ID), outer.parent
        return f"{depth:03} {self.id}"

    def renamed(self, name: str) -> Axis:
        """A copy of the axis, so that a value can have both."""
        return Axis(f"{self.id}>{name}", self.bound, self.parent, (self,), "same")

    def shorter(self) -> Axis:
        """One position less, never below 0."""
        return Axis(f"{self.id}~shorter", max(self.bound - 1, 0), self.parent, (self,), "shorter")

    def longer(self) -> Axis:
        """One position more."""
        return Axis(f"{self.id}+1", self.bound + 1, self.parent, (self,), "appended")

    def joined(self, other: Axis) -> Axis:
        """The positions of this axis, then those of the other."""
        deeper = self.parent or other.parent
        bound = self.bound + other.bound
        return Axis(f"{self.id}+{other.id}", bound, deeper, (self, other), "joined")

    def taken(self, k: int) -> Axis:
        """The first k positions, or all if there are fewer."""
        return Axis(f"{self.id}:{k}", min(self.bound, k), self.parent, (self,), "taken")

    def best(self, k: int, name: str) -> Axis:
        """The k positions that are best by some score; `name` tells scores apart."""
        return Axis(f"{self.id}:{k}>{name}", min(self.bound, k), self.parent, (self,), "best")

    def chunks(self, k: int) -> Axis:
        """Chunks of k positions, the last one shorter."""
        return Axis(f"{self.id}/{k}", -(-self.bound // k), self.parent, (self,), "chunks", k)

    def parts(self, k: int) -> Axis:
        """The positions in each chunk of k."""
        return Axis(f"{self.id}/{k}.part", min(self.bound, k), self.chunks(k), (self,), "parts", k)

    def inside(self, parent: Axis, by: int) -> Axis:
        """The axis as it is inside of what its parent was moved to, from positions `by` later."""
        return Axis(f"{self.id}@{parent.id}+{by}", self.bound, parent, (self,), "inside", by)

    def across(self, parent: Axis) -> Axis:
        """The axis of each example's candidate, inside of the examples of the batch."""
        return Axis(f"{self.id}@{parent.id}", self.bound, parent, (self,), "across")

    @property
    def carried(self) -> Axis | None:
        """The axis that this one was before its parent was moved, None if it has not been."""
        return self.source[0] if self.change == "inside" else None


CANDIDATE_ID = "candidate"
CANDIDATE = Axis(CANDIDATE_ID)
"""The candidates of a request: the outermost axis of all that depends on one. A batch without
`candidates` has one for each example, and the axis then is not there at all."""


def fixed(name: str, size: int) -> Axis:
    """A static axis seen as a ragged one that always has `size` positions."""
    return Axis(f"{name}={size}", size, change="fixed")
