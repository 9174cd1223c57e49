"""What the elaboration of one model shares, and the places that expressions are evaluated at.

Promises: nodes get ids, regions and captures here and nowhere else; a weight path is registered once.
Leaves to others: what an expression means. The world holds it as `Meaning`, so that parts of the elaborator
that need each other (a call's arguments are expressions, an expression may be a call) import only this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from math import prod
from typing import Any, Protocol, TypeVar

from specc.elaborate.blame import CallSite, told_at
from specc.elaborate.scope import Entry, Scope
from specc.frozen import dataclass
from specc.ir.graph import AttentionRecord, FieldSpec, Node, Region, SpaceSpec, Weight
from specc.names.program import Program
from specc.ops import op
from specc.report import Label, Report
from specc.report.suggest import absent, suggestion
from specc.source import Span
from specc.syntax import tree
from specc.types.axis import Axis, Type

T = TypeVar("T")

# A model beyond these was not meant: a size got a digit too many, or blocks call each other twice and twice.
_OPERATIONS = 10_000
_NUMBERS = 10**10  # of one weight that is no table


class Fault(Exception):
    """Raised once a fault has been reported: whatever depends on it stays silent."""


def all_of(*makers: Callable[[], T]) -> list[T]:
    """Return every result, or one Fault after each maker had the chance to report its own."""
    results, failed = [], False
    for maker in makers:
        try:
            results.append(maker())
        except Fault:
            failed = True
    if failed:
        raise Fault
    return results


@dataclass
class Frame:
    """Where nodes go: the graph itself, or the region of a scan inside another frame."""

    outer: Frame | None = None
    axis: Axis | None = None  # the axis that the scan walks
    nodes: list[Node] = field(default_factory=list)
    captured: dict[int, Node] = field(default_factory=dict)  # outer node id -> capture
    order: list[Node] = field(default_factory=list)  # the outer nodes, as captured
    ids: set[int] = field(default_factory=set)
    ranked: list[Node] = field(default_factory=list)  # what `top` ranks by
    best: dict[Axis, Node] = field(default_factory=dict)  # by axis that `top` made, where its positions are


@dataclass(frozen=True)
class LayerValue:
    """A layer not yet applied: calls that lack their first input, one after another.

    `path` is set for a declared `layer`, whose weights every use shares.
    """

    calls: tuple[tuple[tree.Call, Site], ...]
    text: str
    path: str | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Aside:
    """A branch that was not taken, and where it stands: its names are looked at all the same."""

    branch: tree.Expr
    site: Site
    static: bool = False
    symbols: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttentionUse:
    """An attention's record, with what the lints ask about: its result, its queries and keys."""

    record: AttentionRecord
    result: int
    queries: tuple[int, ...]
    keys: tuple[int, ...]
    span: Span


Given = tuple[Node, Span]


class Meaning(Protocol):
    """What expressions and names mean; `specc.elaborate.meaning` implements it, once.

    Each gives its result, or raises Fault once the reason is reported.
    """

    def value(self, expr: tree.Expr, site: Site) -> Node:
        """Return the node of an expression at a place."""

    def static(self, expr: tree.Expr, site: Site, symbols: Iterable[str] = ()) -> Any:
        """Return the compile-time value of an expression. symbols: bare words that stand for themselves."""

    def layer(self, expr: tree.Expr, site: Site) -> LayerValue:
        """Return the layer that an expression says: a name, a call that lacks its first input, a pipe of
        such."""

    def call(self, expr: tree.Call, site: Site, first: list[Given] | None) -> Node:
        """Return the node of a call. first: what is piped in; None where that is faulty."""

    def apply(self, target: LayerValue, inputs: list[Given], site: Site, span: Span) -> Node:
        """Return the node of a layer applied to values."""

    def entry_value(self, scope: Scope, entry: Entry, name: str) -> Any:
        """Return what a name stands for; elaborated on first use."""

    def make_axes(self, scope: Scope, name: str) -> bool:
        """Have the axes of a name made that the body around a scope makes; whether its text makes one."""


class Site:
    """Where an expression stands: the scope its names are looked up in, the frame its nodes go to,
    the path that names its weights, and a count of the callees seen there, so that a second
    `linear` becomes `linear_2`."""

    __slots__ = ("counts", "frame", "path", "scope", "world")

    def __init__(self, scope: Scope, frame: Frame, path: str, counts: dict[str, int] | None = None) -> None:
        self.scope = scope
        self.frame = frame
        self.path = path
        self.counts: dict[str, int] = {} if counts is None else counts
        self.world: World = scope.world

    @property
    def report(self) -> Report:
        return self.world.report

    @property
    def owner(self) -> str:
        """The top-level declaration that weights made here belong to."""
        return self.path.split(".", 1)[0]

    def child(self, callee: str) -> str:
        """Return the path of one more use of a callee at this place."""
        count = self.counts[callee] = self.counts.get(callee, 0) + 1
        leaf = callee if count == 1 else f"{callee}_{count}"
        return f"{self.path}.{leaf}" if self.path else leaf

    def value(self, expr: tree.Expr) -> Node:
        return self.world.meaning.value(expr, self)

    def static(self, expr: tree.Expr, symbols: Iterable[str] = ()) -> Any:
        return self.world.meaning.static(expr, self, symbols)

    def layer(self, expr: tree.Expr) -> LayerValue:
        return self.world.meaning.layer(expr, self)

    def call(self, expr: tree.Call, first: list[Given] | None) -> Node:
        return self.world.meaning.call(expr, self, first)

    def apply(self, target: LayerValue, inputs: list[Given], span: Span) -> Node:
        return self.world.meaning.apply(target, inputs, self, span)


Seen = Callable[[tree.Expr, Site, Node], None]


@dataclass
class World:
    program: Program
    report: Report
    meaning: Meaning
    root: Frame = field(default_factory=Frame)
    overrides: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    spaces: dict[str, SpaceSpec] = field(default_factory=dict)
    space_fields: dict[int, tuple[Node, ...]] = field(default_factory=dict)  # concat node -> fields
    keys: dict[str, FieldSpec] = field(default_factory=dict)  # by path, fields of other fields' keys
    batch: int = 512  # how many examples a batch has, as far as the recipe says
    of_requests: bool = False  # whether a row of the training data is a request with all of its candidates
    attentions: list[AttentionUse] = field(default_factory=list)
    calls: list[tree.Block] = field(default_factory=list)  # blocks being elaborated, outermost first
    call_sites: list[CallSite] = field(default_factory=list)
    making: set[int] = field(default_factory=set)  # by id, calls elaborated for the axis that they make
    met: set[int] = field(default_factory=set)  # by id, blocks that a call wrote out
    applied: set[str] = field(default_factory=set)  # declared layers that were, by path
    aside: dict[int, Aside] = field(default_factory=dict)  # by id, branches that were not taken
    taken: set[int] = field(default_factory=set)  # by id, branches that were
    refused: set[tuple[str, str]] = field(default_factory=set)  # params' values, by message and name
    full: bool = False  # whether the model has been found too large
    seen: Seen | None = None  # who is told the node of every expression
    busy: list[tuple[str, Entry]] = field(default_factory=list)  # names being elaborated, outermost first
    module_scopes: dict[int, Scope] = field(default_factory=dict)  # by id of the module
    _next_id: int = 0

    def fault(self, code: str, message: str, span: Span, **details: Any) -> Fault:
        """Report an error and give back what to raise. Inside a block, the calls that led here
        are shown as second places; what a library of ours carries out is told at the user's own line."""
        if self.report.unread(span):
            return Fault(message)
        if code == "E0403" and self._told_of(message, span, details):
            return Fault(message)
        message, span = told_at(self.call_sites, code, message, span, details)
        self.report.error(code, message, span, **details)
        return Fault(message)

    def _told_of(self, message: str, span: Span, details: dict[str, Any]) -> bool:
        """Return whether a param's value has been refused in these words before: it is told at its first
        use."""
        param = self.program.main.named.get(span.text)
        if not isinstance(param, tree.Param) or param.span.source is not span.source:
            return False
        if (message, span.text) in self.refused:
            return True
        self.refused.add((message, span.text))
        declared = Label(param.ident.span, f"it is {details['found']} here") if details.get("found") else None
        details["secondary"] = (*details.get("secondary", ()), *([declared] if declared else []))
        return False

    def unknown(
        self, code: str, what: str, name: str, span: Span, among: Iterable[str], owner: str = ""
    ) -> Fault:
        """Report a name that means nothing, unless what declared it could not be read.

        owner: what should have it, such as "space `ad`".
        """
        if self.report.lost(name):
            return Fault(name)
        dropped = self.program.dropped.get(name)
        if dropped is not None:
            return self.fault(
                "E0209",
                f"`{name}` is dropped, and is still used",
                dropped,
                label="dropped here",
                secondary=(Label(span, "used here"),),
                help=f"declare `{name}` anew, or drop or replace what uses it too",
            )
        known = list(among)
        help, fix = suggestion(name, span, known)
        if what == "block or layer" and (instead := absent(name)):
            help, fix = instead, None
        if not help and 0 < len(known) <= 8:
            help = "there is " + ", ".join(f"`{k}`" for k in known)
        return self.fault(
            code,
            f"{owner} has no {what} `{name}`" if owner else f"there is no {what} `{name}`",
            span,
            label="unknown name",
            help=help,
            fix=fix,
        )

    def branched(self, taken: tree.Expr, aside: Aside) -> None:
        """Take notice of a branch and of the one beside it that is not taken."""
        self.taken.add(id(taken))
        self.aside.setdefault(id(aside.branch), aside)

    # -------------------------------------------------------------- nodes

    def add(
        self,
        site: Site,
        op: str,
        inputs: Iterable[Node],
        type: Type,
        span: Span,
        attrs: Mapping[str, Any] | None = None,
        weights: tuple[str, ...] = (),
        region: Region | None = None,
    ) -> Node:
        frame = site.frame
        ids = [node.id if node.id in frame.ids else self.localize(node, frame).id for node in inputs]
        return self.put(frame, op, ids, type, span, attrs, weights, site.path, region)

    def put(
        self,
        frame: Frame,
        op: str,
        inputs: Iterable[int],
        type: Type,
        span: Span,
        attrs: Mapping[str, Any] | None = None,
        weights: tuple[str, ...] = (),
        scope: str = "",
        region: Region | None = None,
    ) -> Node:
        if self._next_id >= _OPERATIONS:
            raise self._too_large(span)
        node = Node(self._next_id, op, tuple(inputs), type, span, attrs or {}, weights, scope, region=region)
        self._next_id += 1
        frame.nodes.append(node)
        frame.ids.add(node.id)
        return node

    def _too_large(self, span: Span) -> Fault:
        if self.full:
            return Fault("too large")
        self.full = True
        return self.fault(
            "E0003",
            f"the model has more than {_OPERATIONS:,} operations",
            span,
            label="here at the latest",
            why="every call of a block is written out in place; one that calls another twice doubles it",
            help="call shared pieces once and bind the result; make `repeat` and `fan` smaller",
        )

    def name(self, frame: Frame, node: Node, name: str) -> Node:
        """Give a node the name of the binding it is the value of, unless it has one."""
        if node.name is not None or node.id not in frame.ids:
            return node
        named = Node(
            node.id, node.op, node.inputs, node.type, node.span, node.attrs, node.weights, node.scope, name,
            node.region,
        )  # fmt: skip
        index = next(i for i in range(len(frame.nodes) - 1, -1, -1) if frame.nodes[i].id == node.id)
        frame.nodes[index] = named
        return named

    def localize(self, node: Node, frame: Frame) -> Node:
        """Return the node as seen from a frame: inside a scan, outer values are captured, and those that
        have the scan's axis are seen at one position of it."""
        if frame.outer is None or node.id in frame.ids:
            return node
        outer = self.localize(node, frame.outer)
        if outer.id not in frame.captured:
            assert frame.axis is not None
            index = len(frame.order)
            type_ = outer.type.without(frame.axis)
            capture = self.put(frame, op.CAPTURE, (), type_, outer.span, {"index": index})
            frame.captured[outer.id] = capture
            frame.order.append(outer)
            if outer.id in self.space_fields:
                fields = tuple(self.localize(f, frame) for f in self.space_fields[outer.id])
                self.space_fields[capture.id] = fields
        return frame.captured[outer.id]

    def outermost(self, node: Node, frame: Frame) -> Node:
        """Return the node that a capture stands for, through all scans."""
        while node.op == op.CAPTURE and frame.outer is not None:
            node, frame = frame.order[node.attrs["index"]], frame.outer
        return node

    def weight(self, weight: Weight) -> str:
        """Register a weight; the same path again must be the same tensor (a shared layer)."""
        if weight.kind != "table" and prod(weight.shape) > _NUMBERS:
            raise self.fault(
                "E0003",
                f"the weight `{weight.path}` would have {prod(weight.shape):,} numbers",
                weight.span,
                found=" x ".join(map(str, weight.shape)),
                help="make the widths smaller: a `linear` has its width times that of its input",
            )
        if weight.init == ("identity",) and len(weight.shape) < 2:
            raise self.fault(
                "E0403",
                f"`{weight.path}` is one vector, and `identity` is a matrix",
                weight.span,
                help="start it from `zeros`, `ones` or `constant(…)`",
            )
        known = self.weights.get(weight.path)
        if known is not None and known.shape != weight.shape:
            raise self.fault(
                "E0311",
                f"the shared layer's weight `{weight.path}` would need two shapes",
                weight.span,
                expected=" x ".join(map(str, known.shape)),
                found=" x ".join(map(str, weight.shape)),
                secondary=() if known.span == weight.span else (Label(known.span, "first used here"),),
                why="a `layer` has one set of weights for every use, so its inputs have one width",
                help="declare a second `layer`, or bring the inputs to one width with `linear`",
            )
        self.weights.setdefault(weight.path, weight)
        return weight.path
