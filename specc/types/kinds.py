"""The kinds of axes: what is known of an axis by how it came about, in one place.

Promises: an axis's identity, bound and length follow from its kind alone; whoever needs a length (the
definition of the language, plans) gives those of the axes that it comes from, as numbers of any sort.
Leaves to others: the lengths that a batch has (specc_runtime.layout), and which name an axis has where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from specc.frozen import dataclass
from specc.types.axis import Axis, Type, union

Number = Any  # an integer; of plans, a mean


@dataclass(frozen=True)
class Kind:
    """What axes of one kind have in common.

    length: of an axis, from those of its sources. None where they are not enough: a space's own axis has
        the length that a batch says, a static axis the size it has.
    before: how many positions of its source come before it, by its number and the position along its parent.
    never_empty: whether an axis has a position wherever its parent has, from whether its sources have.
    origin: how such an axis came about, for messages; {a} and {b} are its sources' names, {p} its parent's,
        {n} its number.
    declared: the axis in emitted source; {a}, {b} and {p} are the constants of its sources and its parent.
    word: what its constant is called there.
    """

    origin: str
    word: str
    declared: str = ""
    length: Callable[..., Number] | None = None
    before: Callable[[int, int], int] = lambda number, position: 0
    never_empty: Callable[..., bool] = lambda axis, *sources: False


KINDS: dict[str, Kind] = {
    "space": Kind("that of `{space}`", "space"),
    "batch": Kind("the examples of a batch", "batch"),
    "static": Kind("a static axis of {n}", "rows", never_empty=lambda axis: bool(axis.size)),
    "renamed": Kind(
        "a copy of `{a}`", "copy", "{a}.renamed(NAME)",
        lambda axis, a: a, never_empty=lambda axis, a: a,
    ),
    "shorter": Kind("all but one of `{a}`", "shorter", "{a}.shorter()", lambda axis, a: max(a - 1, 0)),
    "appended": Kind(
        "`{a}` with one more at the end", "longer", "{a}.longer()",
        lambda axis, a: a + 1, never_empty=lambda axis, a: True,
    ),
    "joined": Kind(
        "`{a}` and then `{b}`", "longer", "{a}.joined({b})",
        lambda axis, a, b: a + b, never_empty=lambda axis, a, b: a or b,
    ),
    "taken": Kind(
        "the first {n} of `{a}`", "first", "{a}.taken({n})",
        lambda axis, a: min(a, axis.number), never_empty=lambda axis, a: a and axis.bound > 0,
    ),
    "top": Kind(
        "the best {n} of `{a}`", "best", "{a}.best({n}, NAME)",
        lambda axis, a: min(a, axis.number), never_empty=lambda axis, a: a and axis.bound > 0,
    ),
    "chunks": Kind(
        "chunks of {n} of `{a}`", "chunks", "{a}.chunks({n})",
        lambda axis, a: -(-a // axis.number), never_empty=lambda axis, a: a,
    ),
    "part": Kind(
        "the positions of `{a}` in each chunk of {n}", "part", "{a}.parts({n})",
        lambda axis, a: min(a, axis.number), lambda number, position: number * position, lambda axis, a: True,
    ),
    "across": Kind(
        "`{a}` of each example of a batch", "across", "{a}.across({p})",
        lambda axis, a: a, never_empty=lambda axis, a: a,
    ),
    "inside": Kind(
        "`{a}` as it is inside `{p}`", "inside", "{a}.inside({p}, {n})",
        lambda axis, a: a, never_empty=lambda axis, a: a,
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
("chunks", key, n)                chunks of n positions, the last one shorter
("part", key, n)                  the positions in each chunk, inside of the chunks
("inside", key, by, parent's key) an axis inside of one that was moved: its segments go along, from `by` later
                                  positions than the new parent's
("across", key)                   a space's own axis, inside of the examples of a batch
("batch", "examples")             the examples of a batch, in losses
("batch", "rows", n)              the same as a ragged axis, for what is inside of it; n as the recipe says
"""


def derived(
    kind: str, name: str, *sources: Axis, more: tuple[Any, ...] = (), parent: Axis | None = None
) -> Axis:
    """Return the axis of a kind that comes from others. more: what else its identity consists of. parent:
    the axis it lives in, if that is another one than its source's."""
    key = (kind, *(source.key for source in sources), *more)
    within = sources[0].parent if parent is None else parent
    bare = Axis(key, name, 0, None, within, sources)
    bounds = (source.bound for source in sources)
    sizes = [source.size for source in sources]
    size = None if None in sizes else length(bare, *sizes)
    return Axis(key, name, length(bare, *bounds), size, within, sources)


def length(axis: Axis, *sources: Number) -> Number:
    """Return the length of a derived axis, from the lengths of its sources; of the parts of chunks, from how
    much there is from the chunk's start on."""
    known = KINDS[axis.kind].length
    assert known is not None, axis.kind
    return known(axis, *sources)


def before(axis: Axis, place: Mapping[Axis, int]) -> int:
    """Return how many positions of its source come before a derived axis, at a place of its parents."""
    if axis.parent is None or axis.kind == "space":
        return 0
    return KINDS[axis.kind].before(axis.number, place[axis.parent])


def parts(axis: Axis, number: int, chunk: str, part: str) -> tuple[Axis, Axis]:
    """Return the chunks of an axis and the positions in each of them."""
    chunks = derived("chunks", chunk, axis, more=(number,))
    return chunks, derived("part", part, axis, more=(number,), parent=chunks)


def inside(axis: Axis, parent: Axis, by: int) -> Axis:
    """Return an axis as it is inside of what its parent was moved to, by so many positions."""
    return derived("inside", axis.name, axis, more=(by, parent.key), parent=parent)


def moved(type_: Type, old: Axis, *news: Axis, by: int = 0) -> Type:
    """Return a type with new axes in place of one, the last of them that which the axes inside of the old one
    are now inside of. by: how many positions later than the new ones the old ones are."""
    there = {old: news[-1]}
    for axis in union(type_):
        if axis.parent in there:
            there[axis] = inside(axis, there[axis.parent], by)
    axes: list[Axis] = []
    for axis in type_.axes:
        axes += news if axis == old else [there.get(axis, axis)]
    return Type(tuple(axes), type_.width)


def unchunked(type_: Type, part: Axis) -> Type | None:
    """Return a type with an axis in place of its chunks and their parts; None where an axis that lives in
    them cannot go back."""
    (whole,), chunks = part.source, part.parent
    back = {part: whole}
    for axis in union(type_):
        if axis.parent == chunks and axis != part:
            return None
        if axis.parent in back:
            if axis.kind != "inside" or axis.source[0].parent != back[axis.parent]:
                return None
            back[axis] = axis.source[0]
    axes = (back.get(a, a) for a in type_.axes if a != chunks)
    return Type(tuple(axes), type_.width)


def carried(axes: Iterable[Axis], before: Iterable[Axis]) -> dict[Axis, Axis]:
    """Return those of a value's axes that came along as others were moved, with what they were before: axes
    of the value that this one was made of."""
    known = set(before)
    return {a: a.source[0] for a in axes if a.kind == "inside" and a not in known and a.source[0] in known}


def origin_of(
    axis: Axis, place: Mapping[Axis, int], stands: Callable[[Axis, Mapping[Axis, int]], int]
) -> dict[Axis, int]:
    """Return the positions along the parents of what an `inside` axis was before, at a place of its own
    parents. stands: as `position`, also of an axis whose positions were chosen by a score."""
    found: dict[Axis, int] = {}
    while axis.kind == "inside":
        (child,), parent = axis.source, axis.parent
        assert parent is not None
        assert child.parent is not None
        if _mover(axis) is not None:
            found[child.parent] = stands(parent, place) + axis.number
            break
        found[child.parent] = place[parent]
        axis = parent
    return found


def _mover(axis: Axis) -> Axis | None:
    """Return the parent of an `inside` axis if that is what was moved, not what came along itself."""
    (child,), parent = axis.source, axis.parent
    assert parent is not None
    return None if parent.kind == "inside" and parent.source[0] == child.parent else parent


def chosen(axis: Axis) -> frozenset[Axis]:
    """Return the axes of positions chosen by a score on which an axis's lengths depend: those of `top` that
    it came along with, or that its sources or parents did."""
    beside = (*axis.source, *((axis.parent,) if axis.parent is not None else ()))
    found = frozenset(best for other in beside for best in chosen(other))
    if axis.kind == "inside" and (mover := _mover(axis)) is not None and mover.kind == "top":
        found |= {mover}
    return found


def position(axis: Axis, place: Mapping[Axis, int]) -> int:
    """Return the position along its source that a place along a derived axis stands for."""
    return before(axis, place) + place[axis]


def never_empty(axis: Axis) -> bool:
    """Return whether an axis has a position in every example."""
    if axis.size is not None:
        return bool(axis.size)
    return bool(KINDS[axis.kind].never_empty(axis, *map(never_empty, axis.source)))


def origin(axis: Axis) -> str:
    """Return how an axis came about, in words."""
    names = dict(zip("ab", (source.name for source in axis.source), strict=False))
    return KINDS[axis.kind].origin.format(space=axis.key[1], n=axis.number, p=axis.parent, **names)


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
