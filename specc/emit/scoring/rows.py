"""Print which row belongs to which, as specc_runtime.layout works it out, as C.

Promises: rows are ordered as in the runtime: by example, then axis by axis. Everything is worked out once in
a function, where it is first needed. What a batch says wrongly ends the function, so that the Python, which
says what is wrong, has its turn.
"""

from __future__ import annotations

from collections.abc import Callable

from specc import frozen
from specc.emit.axes import Axes, axis_id
from specc.lower.program import Rows
from specc.lower.shape import Domain
from specc.passes.roles import CANDIDATE, axis_role
from specc.types.axis import Axis


class NotInC(Exception):
    """Raised for what has no form in C; the message says what."""


@frozen.dataclass(frozen=True)
class Grid:
    """The rows of some ragged axes, parents first; None stands for the candidates. A tile has a number
    instead, and no rows that anything else has."""

    axes: tuple[Axis | None, ...]
    tile: int = 0


class Layout:
    """say: writes a line. given: the C expressions of a batch's lengths by the axis's id, and of how many
    there are."""

    def __init__(self, axes: Axes, roles: dict[str, str], say: Callable[[str], None]) -> None:
        self.axes = axes
        self.roles = roles
        self.say = say
        self.given: Callable[[str], tuple[str, str]] = lambda id: ("", "")
        self._known: dict[object, str] = {}
        self._next = 0

    def name(self, stem: str) -> str:
        self._next += 1
        return f"{stem}{self._next}"

    def grid(self, rows: Rows | Domain) -> Grid:
        """The rows of a domain."""
        domain = rows.domain if isinstance(rows, Rows) else rows
        found: dict[Axis | None, None] = {None: None} if domain.candidate else {}
        for axis in domain.axes:
            found |= dict.fromkeys(self._chain(axis))
        return Grid(tuple(sorted(found, key=self._order)))

    def _chain(self, axis: Axis) -> list[Axis | None]:
        own: list[Axis | None] = [None] if axis_role(axis, self.roles) == CANDIDATE else []
        return [*own, *axis.chain]

    def _order(self, axis: Axis | None) -> str:
        return "000 candidate" if axis is None else f"{len(axis.chain):03} {self.id(axis)}"

    def id(self, axis: Axis) -> str:
        """The name of an axis in the runtime."""
        if axis.kind == "space":
            return axis_id(axis)
        ids = [self.id(source) for source in axis.source]
        own = self.axes.constant(axis).lower()
        match axis.kind:
            case "renamed":
                return f"{ids[0]}>{own}"
            case "shorter":
                return f"{ids[0]}~shorter"
            case "appended":
                return f"{ids[0]}+1"
            case "joined":
                return f"{ids[0]}+{ids[1]}"
            case "taken":
                return f"{ids[0]}:{axis.number}"
            case "top":
                return f"{ids[0]}:{axis.number}>{own}"
        if axis.size is None:
            raise NotInC(f"an axis of kind {axis.kind}")
        return f"{own}={axis.size}"

    # ------------------------------------------------------------------- what follows

    def _once(self, key: object, stem: str, text: Callable[[], str]) -> str:
        """A name for an array of int32, written where it is first needed."""
        if key not in self._known:
            made = text()
            if made.isidentifier():
                self._known[key] = made
            else:
                name = self._known[key] = self.name(stem)
                self.say(f"const int32_t *{name} = {made};")
                self.say(f"if (!{name}) return 1;")
        return self._known[key]

    def _array(self, key: object, stem: str, text: str) -> str:
        return self._once(key, stem, lambda: text)

    def count(self, grid: Grid) -> str:
        """How many rows there are."""
        if grid.tile:
            return f"tile{grid.tile}"
        if not grid.axes:
            return "requests"
        key = ("count", grid)
        if key not in self._known:
            begins = self.begins(grid)
            name = self._known[key] = self.name("n")
            self.say(f"const int64_t {name} = {begins}[{self.count(self.prefix(grid))}];")
        return self._known[key]

    def prefix(self, grid: Grid) -> Grid:
        return Grid(grid.axes[:-1])

    def begins(self, grid: Grid) -> str:
        """Where the run of each row of the prefix begins, and the last one ends."""
        prefix = self.prefix(grid)
        axis = grid.axes[-1]

        def made() -> str:
            lengths, within = self.lengths(axis), self.within(axis)
            if within != prefix:
                index = self.index(prefix, within)
                each = self._once(
                    ("each", grid), "each", lambda: f"picked_(m, {self.count(prefix)}, {lengths}, {index})"
                )
            else:
                each = lengths
            return f"begins_(m, {self.count(prefix)}, {each})"

        return self._once(("begins", grid), "begins", made)

    def within(self, axis: Axis | None) -> Grid:
        """The rows that have a length of the axis each."""
        return Grid(()) if axis is None else Grid(tuple(sorted(self._chain(axis), key=self._order)[:-1]))

    def lengths(self, axis: Axis | None) -> str:
        """How many positions of the axis there are, for each of the rows that it is within."""
        return self._once(("lengths", axis), "length", lambda: self._lengths(axis))

    def _lengths(self, axis: Axis | None) -> str:
        count = self.count(self.within(axis))
        if axis is None:
            pointer, many = self.given("")
            self.say(f"if ({pointer} && {many} != requests) return 1;")
            return f"{pointer} ? lengths_(m, requests, {pointer}, MOST) : alike_(m, requests, 1)"
        if axis.size is not None:
            return f"alike_(m, {count}, {axis.size})"
        if axis.kind == "space":
            pointer, many = self.given(axis_id(axis))
            self.say(f"if ({many} != {count}) return 1;")
            return f"lengths_(m, {count}, {pointer}, {axis.bound})"
        sources = []
        for source in axis.source:
            own, of = self.lengths(source), self.within(source)
            if of != self.within(axis):
                index = self.index(self.within(axis), of)
                picked = f"picked_(m, {count}, {own}, {index})"
                own = self._array(("lengths", source, axis), "length", picked)
            sources.append(own)
        match axis.kind:
            case "renamed":
                return sources[0]
            case "shorter":
                return f"change_(m, {count}, {sources[0]}, 0, -1, MOST)"
            case "appended":
                return f"change_(m, {count}, {sources[0]}, 0, 1, MOST)"
            case "joined":
                return f"change_(m, {count}, {sources[0]}, {sources[1]}, 0, MOST)"
        return f"change_(m, {count}, {sources[0]}, 0, 0, {axis.bound})"

    def owners(self, grid: Grid) -> str:
        """The row of the prefix that each row belongs to."""
        begins = self.begins(grid)
        return self._once(
            ("owners", grid), "owner", lambda: f"owners_(m, {self.count(self.prefix(grid))}, {begins})"
        )

    def position(self, grid: Grid, axis: Axis | None) -> str:
        """The position of each row along an axis."""

        def made() -> str:
            prefix = self.prefix(grid)
            if grid.axes[-1] == axis:
                return f"places_(m, {self.count(prefix)}, {self.begins(grid)})"
            return f"picked_(m, {self.count(grid)}, {self.position(prefix, axis)}, {self.owners(grid)})"

        return self._once(("position", grid, axis), "place", made)

    def index(self, grid: Grid, to: Grid) -> str:
        """For each row its row of some of these axes, which are not the same."""
        assert grid != to

        def made() -> str:
            prefix = self.prefix(grid)
            if to == prefix:
                return self.owners(grid)
            if set(to.axes) <= set(prefix.axes):
                return f"picked_(m, {self.count(grid)}, {self.index(prefix, to)}, {self.owners(grid)})"
            return self.located(grid, to, {})

        return self._once(("index", grid, to), "of", made)

    def located(self, grid: Grid, to: Grid, instead: dict[Axis | None, str]) -> str:
        """The expression for rows of another combination, at given positions along some axes."""
        if not to.axes:
            return self.examples(grid)
        axis = to.axes[-1]
        prefix = self.prefix(to)
        if not instead and grid == to:
            return self._once(("own", grid), "own", lambda: f"counting_(m, {self.count(grid)})")
        row = self.named(self.located(grid, prefix, instead))
        place = instead[axis] if axis in instead else self.position(grid, axis)
        return f"located_(m, {self.count(grid)}, {row}, {self.count(prefix)}, {self.begins(to)}, {place})"

    def named(self, text: str) -> str:
        """An array in a variable."""
        return self._once(("text", text), "row", lambda: text)

    def examples(self, grid: Grid) -> str:
        if not grid.axes:
            return self._once("own", "own", lambda: "counting_(m, requests)")
        return self.index(grid, Grid(()))

    def lengths_of(self, grid: Grid, axis: Axis | None) -> str:
        """The length of an axis at each row."""
        within, lengths = self.within(axis), self.lengths(axis)
        if within == grid:
            return lengths
        index = self.index(grid, within)
        return self._once(
            ("lengths of", grid, axis),
            "length",
            lambda: f"picked_(m, {self.count(grid)}, {lengths}, {index})",
        )
