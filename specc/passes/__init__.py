"""The passes in their order.

Promises: `prepared` does what lowering relies on and changes no meaning; the passes named in `DEFAULT` are
optional, in any selection; `place` comes after all but those in `PLACED`, which need the nodes' devices.
`stages` shows the graph after each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

from specc.ir.graph import Graph
from specc.passes.appended import part_appended
from specc.passes.attention import recognise_attention
from specc.passes.contract import contract
from specc.passes.contractions import contract_sums
from specc.passes.distribute import distribute
from specc.passes.fans import join_fans
from specc.passes.fold import fold
from specc.passes.hoist import hoist
from specc.passes.lift import lift_sources
from specc.passes.lookups import fuse_lookups
from specc.passes.merge import merge_products
from specc.passes.placement import place
from specc.passes.positions import choose_positions
from specc.passes.reading import read_by_position
from specc.passes.recurrence import compile_recurrences
from specc.passes.roles import assign_roles
from specc.passes.share import share
from specc.passes.tiles import tile
from specc.report.suggest import nearest

Pass = Callable[[Graph], Graph]

PASSES: Mapping[str, Pass] = {
    "appended": part_appended,
    "fold": fold,
    "share": share,
    "reading": read_by_position,
    "positions": choose_positions,
    "fans": join_fans,
    "contract": contract,
    "attention": recognise_attention,
    "distribute": distribute,
    "hoist": hoist,
    "merge": merge_products,
    "recurrence": compile_recurrences,
    "tiles": tile,
    "contractions": contract_sums,
    "lookups": fuse_lookups,
}
DEFAULT: tuple[str, ...] = tuple(PASSES)
PLACED: tuple[str, ...] = ("lookups",)
_FIRST = tuple(name for name in DEFAULT if name not in PLACED)
_STEPS: Mapping[str, Pass] = {**PASSES, "place": place}
# What is taken out of loops meets its like: common values are shared once more.
_ORDER = (*_FIRST[: _FIRST.index("merge")], "share", *_FIRST[_FIRST.index("merge") :])

Selection = str | Iterable[str]


class PassError(ValueError):
    """A selection of passes that names one there is not."""


def selected(selection: Selection) -> frozenset[str]:
    """The passes of "none", "default", or a list of names (also in one text, with commas between).

    Raises PassError for an unknown name.
    """
    if selection == "default":
        return frozenset(DEFAULT)
    if selection == "none":
        return frozenset()
    names = selection.split(",") if isinstance(selection, str) else list(selection)
    names = [name.strip() for name in names if name.strip()]
    for name in names:
        if name not in PASSES:
            close = nearest(name, PASSES)
            advice = f"did you mean `{close}`?" if close else f"there are {', '.join(PASSES)}"
            raise PassError(f"there is no pass `{name}`; {advice}")
    return frozenset(names)


def prepared(graph: Graph) -> Graph:
    """Sources out of scans, and a role for every node: what all later passes and lowering assume."""
    return assign_roles(lift_sources(graph))


def stages(graph: Graph, selection: Selection = "default") -> Iterator[tuple[str, Graph]]:
    """The graph after each step, by the step's name. Raises PassError."""
    wanted = selected(selection)
    graph = prepared(graph)
    yield "prepared", graph
    for name in (*_ORDER, "place", *PLACED):
        if name in wanted or name == "place":
            graph = _STEPS[name](graph)
            yield name, graph


def before_places(graph: Graph) -> Graph:
    """The graph after all passes that come before `place`."""
    return next(earlier for (_, earlier), (name, _) in pairwise(stages(graph)) if name == "place")


def after_places(graph: Graph) -> Graph:
    """What `before_places` gave, placed and after the passes that come then."""
    for name in ("place", *PLACED):
        graph = _STEPS[name](graph)
    return graph


def optimise(graph: Graph, selection: Selection = "default") -> Graph:
    """The graph after all selected passes, placed. Raises PassError."""
    *_, (_, last) = stages(graph, selection)
    return last
