"""The functions of a cell with everything between two matrix products in C.

Matrix products stay torch's; the kernels between two become a `Run`: one function of C that computes them row
by row, so that what one leaves for the next is in a register or the nearest cache, and temporaries are never
in memory. The function around them has kernels again: products, runs and empty rows.

Promises: the values of the plain functions; or which kernel has no form in C.
"""

from __future__ import annotations

from typing import Any

from specc.frozen import dataclass
from specc.lower import choices
from specc.lower.choices import Choice
from specc.lower.program import Derived, Function, Kernel, Value
from specc.lower.rows import ROW, cuts_of, place_of
from specc.ops import OPS
from specc.ops.definition import Pointwise

# Numbers of temporaries that a run may have for a row; they are on the stack.
_OWN = 2**14
# Kernels of several operations, and those that are no operation's.
KNOWN = frozenset({"addcmul", "lerp", "copy", "sum", "dot", "cat", "pad"})
_PRODUCTS = frozenset({"mm", "addmm"})


@dataclass(eq=False)
class Run:
    """Kernels of one function of C. rows: its arguments, tensors [n, width]. own: its temporaries. places: by
    value the tensor that it is in, and its first channel there."""

    kernels: list[Kernel]
    rows: list[Value]
    own: list[Value]
    places: dict[Value, tuple[Value, int]]


@dataclass
class Native:
    """The functions of a cell in that form. runs: of `step`, then of `back`. choice: from where on they are
    called."""

    step: Function
    back: Function
    runs: list[Run]
    choice: Choice


def native_of(step: Function, back: Function) -> Native | str:
    """Both functions in that form; or why there is none."""
    for kernel in (*step.kernels, *back.kernels):
        if kernel.name != "columns" and (name := _unknown(kernel)) is not None:
            return f"`{name}` has no form in C"
    at_hand = {v for group in ("values", "constants", "states") for v in step.groups[group]}
    places = _places([*step.kernels, *back.kernels])
    kept = [root for value in step.results if (root := places(value)[0]) not in at_hand]
    kept = list(dict.fromkeys(kept))
    forward, backward = _Apart(step, places, kept), _Apart(back, places, [])
    forward.function.results, forward.function.returned = kept, tuple(kept)
    backward.function.groups = {**back.groups, "kept": kept}
    assert back.returned is not None
    backward.function.returned = tuple(tuple(map(backward.read, group)) for group in back.returned)
    runs = [*forward.runs, *backward.runs]
    if any(sum(own.width for own in run.own) > _OWN for run in runs):
        return "its rows are too wide"
    return Native(forward.function, backward.function, runs, choices.STEPS_IN_C)


def _unknown(kernel: Kernel) -> str | None:
    """The operation of a kernel that has no form in C, if it is one."""
    if kernel.name in KNOWN | _PRODUCTS:
        return None
    if kernel.name == "derived":
        derived = kernel.args[0]
        assert isinstance(derived, Derived)
        found = OPS[derived.op].derivative
        return None if found is not None and any(found.c[derived.input :][:1]) else derived.op
    form = OPS[kernel.name].lowering
    return None if isinstance(form, Pointwise) and form.c else kernel.name


class _places:
    """Where values lie."""

    def __init__(self, kernels: list[Kernel]) -> None:
        self.cuts = cuts_of(kernels)

    def __call__(self, value: Value) -> tuple[Value, int]:
        return place_of(value, self.cuts)


class _Apart:
    """One function split into products and runs. wanted: values that are read after it."""

    def __init__(self, function: Function, places: _places, wanted: list[Value]) -> None:
        self.places = places
        self.function = Function(function.names, groups=function.groups, span=function.span)
        self.runs: list[Run] = []
        self.views: dict[tuple[Value, int, int], Value] = {}
        given = {v for group in function.groups.values() for v in group}
        parts = _parts([k for k in function.kernels if k.name != "columns"])
        results = [places(v)[0] for v in function.results]
        for number, part in enumerate(parts):
            if part[0].name in _PRODUCTS:
                self._product(part[0])
                continue
            later = {places(v)[0] for after in parts[number + 1 :] for k in after for v in _touched(k)}
            made = {root for k in part if (root := places(k.result)[0]) is k.result}
            outside = (later | set(results) | set(wanted)) & made
            self._run(part, made - outside, outside - given)

    def _run(self, part: list[Kernel], own: set[Value], fresh: set[Value]) -> None:
        touched = dict.fromkeys(v for k in part for v in _touched(k))
        places = {v: self.places(v) for v in touched}
        roots = dict.fromkeys(root for root, _ in places.values())
        rows = [root for root in roots if root not in own]
        like = next(root for root in rows if root not in fresh)
        for root in rows:
            if root in fresh:
                self.function.kernels.append(Kernel("empty_rows", (like, root.width), (root,)))
        run = Run(part, rows, [root for root in roots if root in own], places)
        self.runs.append(run)
        self.function.kernels.append(Kernel("run", (run, *rows), ()))

    def _product(self, kernel: Kernel) -> None:
        over = None if kernel.over is None else self.read(kernel.over)
        args = tuple(self.read(a) if isinstance(a, Value) else a for a in kernel.args)
        result = kernel.result
        if over is not None:
            # It is read again as the place that it is written to.
            result = Value(0, ROW, result.width, base=over, written=True, names=result.names)
        self.function.kernels.append(Kernel(kernel.name, args, (result,), kernel.options, over=over))

    def read(self, value: Value | None) -> Any:
        """A value as part of the tensor that it lies in."""
        if value is None or value.dtype == "number":
            return value
        root, start = self.places(value)
        if value.width == root.width:
            return root
        key = root, start, value.width
        if key not in self.views:
            view = Value(0, ROW, value.width, base=root)
            self.views[key] = view
            self.function.kernels.append(Kernel("columns", (root, start, start + value.width), (view,)))
        return self.views[key]


def _parts(kernels: list[Kernel]) -> list[list[Kernel]]:
    """Each product by itself, and the kernels between two."""
    parts: list[list[Kernel]] = []
    for kernel in kernels:
        if kernel.name in _PRODUCTS or not parts or parts[-1][0].name in _PRODUCTS:
            parts.append([])
        parts[-1].append(kernel)
    return parts


def _touched(kernel: Kernel) -> list[Value]:
    """The values that a kernel reads and writes."""
    read = [v for v in kernel.operands() if v.dtype != "number"]
    return [*read, *([kernel.over] if kernel.over is not None else []), kernel.result]
