"""The kinds of axes: what is known of an axis by how it came about, in one place.

Promises: an axis's identity, bound and length follow from its kind alone; whoever needs a length (the
definition of the language, plans) gives those of the axes that it comes from, as numbers of any sort.
Leaves to others: the lengths that a batch has (specc_runtime.layout), and which name an axis has where.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from specc.frozen import dataclass
from specc.types.axis import Axis

Number = Any  # an integer; of plans, a mean


@dataclass(frozen=True)
class Kind:
    """What axes of one kind have in common.

    length: of an axis, from those of its sources. None where they are not enough: a space's own axis has
        the length that a batch says, a static axis the size it has.
    never_empty: whether an axis has a position in every example, from whether its sources have.
    origin: how such an axis came about, for messages; {a} and {b} are its sources' names, {n} its number.
    declared: the axis in emitted source; {a} and {b} are the constants of its sources.
    word: what its constant is called there.
    """

    origin: str
    word: str
    declared: str = ""
    length: Callable[..., Number] | None = None
    never_empty: Callable[..., bool] = lambda axis, *sources: False


KINDS: dict[str, Kind] = {
    "space": Kind("that of `{space}`", "space"),
    "batch": Kind("the examples of a batch", "batch"),
    "static": Kind("a static axis of {n}", "rows", never_empty=lambda axis: bool(axis.size)),
    "renamed": Kind(
        "a copy of `{a}`", "copy", "{a}.renamed(NAME)",
        lambda axis, a: a, lambda axis, a: a,
    ),
    "shorter": Kind("all but one of `{a}`", "shorter", "{a}.shorter()", lambda axis, a: max(a - 1, 0)),
    "appended": Kind(
        "`{a}` with one more at the end", "longer", "{a}.longer()",
        lambda axis, a: a + 1, lambda axis, a: True,
    ),
    "joined": Kind(
        "`{a}` and then `{b}`", "longer", "{a}.joined({b})",
        lambda axis, a, b: a + b, lambda axis, a, b: a or b,
    ),
    "taken": Kind(
        "the first {n} of `{a}`", "first", "{a}.taken({n})",
        lambda axis, a: min(a, axis.number), lambda axis, a: a and axis.bound > 0,
    ),
    "top": Kind(
        "the best {n} of `{a}`", "best", "{a}.best({n}, NAME)",
        lambda axis, a: min(a, axis.number), lambda axis, a: a and axis.bound > 0,
    ),
}  # fmt: skip
"""By the head of its key. The keys of axes:

("space", space, name)            a space's own ragged axis
("static", name, size, body)      one of a name and size in a body: `stack`, `split`, `fan`, `learned` …
("renamed", key, name, body)      a copy under a name in a body: `rename`
("shorter", key)                  `init` and `tail`: one position less, never below 0
("appended", key)                 a vector at the end
("joined", key, key)              two sequences
("taken", key, n)                 the first n
("top", key, n, node)             the n best by a score
("batch", "examples")             the examples of a batch, in losses
"""


def derived(kind: str, name: str, *sources: Axis, more: tuple[Any, ...] = ()) -> Axis:
    """Return the axis of a kind that comes from others. more: what else its identity consists of."""
    key = (kind, *(source.key for source in sources), *more)
    bare = Axis(key, name, 0, None, sources[0].parent, sources)
    bounds = (source.bound for source in sources)
    sizes = [source.size for source in sources]
    size = None if None in sizes else length(bare, *sizes)
    return Axis(key, name, length(bare, *bounds), size, sources[0].parent, sources)


def length(axis: Axis, *sources: Number) -> Number:
    """Return the length of a derived axis, from the lengths of its sources."""
    known = KINDS[axis.kind].length
    assert known is not None, axis.kind
    return known(axis, *sources)


def never_empty(axis: Axis) -> bool:
    """Return whether an axis has a position in every example."""
    if axis.size is not None:
        return bool(axis.size)
    return bool(KINDS[axis.kind].never_empty(axis, *map(never_empty, axis.source)))


def origin(axis: Axis) -> str:
    """Return how an axis came about, in words."""
    names = dict(zip("ab", (source.name for source in axis.source), strict=False))
    return KINDS[axis.kind].origin.format(space=axis.key[1], n=axis.number, **names)


def root(axis: Axis) -> Axis:
    """Return the axis that this one is a copy of, in however many steps; for any other axis itself."""
    while axis.kind == "renamed":
        (axis,) = axis.source
    return axis


def alike(axis: Axis, other: Axis) -> bool:
    """Return whether two axes have the same length wherever they occur: copies of one axis, or
    of one size."""
    if axis.size is not None or other.size is not None:
        return axis.size == other.size
    return root(axis) == root(other)
