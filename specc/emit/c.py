"""Print runs of row-wise kernels as C functions.

Promises: a function takes the number of rows and, for every tensor that it touches, its address and its row
stride. `real` is the precision; exp_, tanh_, sigmoid_ and silu_back are defined
(specc_runtime.native.source). A test holds the functions against the same steps in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, prod
from typing import Any

from specc.frozen import dataclass
from specc.lower.native import Run
from specc.lower.program import Derived, Kernel, Value
from specc.ops import OPS, op
from specc.ops.definition import Pointwise

# Of two places that a kernel reads or writes, either both are the same or they do not overlap.
_APART = "omp simd"


def function_text(name: str, run: Run) -> str:
    """Return the C function of a run."""
    return _Run(run).text(name)


@dataclass(frozen=True)
class _Place:
    """Channels start .. start + width of a row of a tensor."""

    row: str
    start: int
    width: int

    def at(self, width: int) -> str:
        """Return the C expression for channel `c` of a kernel of this width; a place of one channel
        broadcasts."""
        pointer = f"({self.row} + {self.start})" if self.start else self.row
        return f"{pointer}[{'0' if self.width == 1 and width != 1 else 'c' if width > 1 else '0'}]"


class _Run:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows = {root: f"x{number}" for number, root in enumerate((*run.rows, *run.own))}

    def text(self, name: str) -> str:
        rows = [self.rows[r] for r in self.run.rows]
        arguments = [f"real *p{x[1:]}, int64_t s{x[1:]}" for x in rows]
        body = [line for kernel in self.run.kernels for line in self._kernel(kernel)]
        lines = [f"void {name}(int64_t n, {', '.join(arguments)})", "{"]
        lines += ["    for (int64_t row = 0; row < n; row++) {"]
        lines += [f"        real *{x} = p{x[1:]} + row * s{x[1:]};" for x in rows]
        lines += [f"        real {self.rows[r]}[{r.width}];" for r in self.run.own]
        return "\n".join([*lines, *(f"        {line}" for line in body), "    }", "}", ""])

    def _place(self, value: Value) -> _Place:
        root, start = self.run.places[value]
        return _Place(self.rows[root], start, value.width)

    def _kernel(self, kernel: Kernel) -> list[str]:
        into = self._place(kernel.result)
        match kernel.name:
            case "sum":
                return self._sum(into, kernel.args, "{0}")
            case op.DOT:
                return self._sum(into, kernel.args, "{0} * {1}")
            case "cat":
                return self._cat(into, kernel.args[0])
            case "pad":
                return self._pad(into, *kernel.args)
        width = into.width
        return _loop(width, f"{into.at(width)} = {self._element(kernel, width)};")

    def _number(self, value: Any, width: int) -> str:
        if isinstance(value, Value) and value.dtype != "number":
            return self._place(value).at(width)
        return number_text(value.number if isinstance(value, Value) else value)

    def _element(self, kernel: Kernel, width: int) -> str:
        """Return the C expression for channel `c` of a kernel's result."""
        if kernel.name == "derived":
            derived, *operands = kernel.args
            assert isinstance(derived, Derived)
            found = OPS[derived.op].derivative
            assert found is not None
            texts = [self._number(x, width) for x in operands]
            given = dict(zip(derived.args, texts, strict=True))
            return found.c[derived.input].format(**_with(derived.attrs, given))
        x = [self._number(a, width) for a in kernel.args]
        match kernel.name:
            case "copy":
                return x[0]
            case "addcmul":
                return f"{x[0]} + {x[1]} * {x[2]}"
            case "lerp":
                return f"{x[0]} + {x[2]} * ({x[1]} - {x[0]})"
        if kernel.options:
            return f"{x[0]} + {number_text(kernel.options['alpha'])} * {x[1]}"
        definition = OPS[kernel.name]
        assert isinstance(definition.lowering, Pointwise)
        names = (*(s.name for s in definition.inputs), *definition.attrs)
        return definition.lowering.c.format(**dict(zip(names, x, strict=True)))

    def _sum(self, into: _Place, args: Sequence[Any], form: str) -> list[str]:
        """Return C that sums over channels into one."""
        width = max(a.width for a in args)
        term = form.format(*(self._number(a, width) for a in args))
        added = _loop(width, f"total += {term};", "omp simd reduction(+:total)")
        return ["{", "real total = 0;", *added, f"{into.at(1)} = total;", "}"]

    def _cat(self, into: _Place, parts: Sequence[Value]) -> list[str]:
        """Return C that writes the parts side by side."""
        start, lines = into.start, []
        for part in parts:
            to = _Place(into.row, start, part.width)
            lines += _loop(part.width, f"{to.at(part.width)} = {self._number(part, part.width)};")
            start += part.width
        return lines

    def _pad(self, into: _Place, x: Value, beside: tuple[int, int]) -> list[str]:
        """Return C that writes x with zeros on both sides."""
        part = _Place(into.row, into.start + beside[0], x.width)
        return [
            *_loop(into.width, f"{into.at(into.width)} = 0;"),
            *_loop(x.width, f"{part.at(x.width)} = {self._number(x, x.width)};"),
        ]


def _with(attrs: Mapping[str, Any], given: dict[str, str]) -> dict[str, str]:
    return given | {name: number_text(value) for name, value in attrs.items()}


def number_text(value: float) -> str:
    """Return a number as C."""
    if isfinite(value):
        return f"(real){float(value)!r}"
    return {"inf": "INFINITY", "-inf": "-INFINITY"}.get(str(value), "NAN")


def broadcast(sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the sizes of what is computed from values of these sizes."""
    return tuple(max(each) for each in zip(*sizes, strict=True))


def offset(own: tuple[int, ...], sizes: tuple[int, ...]) -> str:
    """Return the place in a row of sizes `own` that belongs to j0, j1, … and c, which count over `sizes`; a
    size of 1 is the same for all."""
    terms = []
    for n, size in enumerate(own):
        stride = prod(own[n + 1 :])
        if size > 1 or sizes[n] == 1:
            name = "c" if n == len(own) - 1 else f"j{n}"
            terms.append(name if stride == 1 else f"{name} * {stride}")
    return " + ".join(terms) or "0"


def _loop(width: int, statement: str, pragma: str = _APART) -> list[str]:
    """Return a loop that runs a statement for each channel `c`."""
    if width == 1:
        return [statement]
    return [f"PRAGMA({pragma})", f"for (int64_t c = 0; c < {width}; c++) {statement}"]
