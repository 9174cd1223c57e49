"""Operations on rows as C.

Promises: a function of a number of rows, and of every tensor that it touches its address and how many
numbers lie between its rows. It goes row by row: what one operation leaves for the next is in the nearest
cache, or in a register, and what nothing else reads never leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from specc_runtime.native.trace import Operand, Operation, Place, Unknown

# exp in single precision to within 2 units in the last place, in operations that vectors have: 2^n times a
# polynomial on [-ln 2 / 2, ln 2 / 2], and 2^n in two halves, so that the largest and smallest come out right.
_SINGLE = """\
typedef float real;

static inline float power(int n)
{
    union { int32_t bits; float value; } of = { (n + 127) << 23 };
    return of.value;
}

static inline float exp_(float x)
{
    x = x < -104.0f ? -104.0f : x;
    x = x > 89.0f ? 89.0f : x;
    const float shift = 12582912.0f;
    float n = (x * 1.44269504f + shift) - shift;
    float r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t whole = (int32_t)n, half = whole >> 1;
    return p * power(half) * power(whole - half);
}
"""
_DOUBLE = """\
typedef double real;
static inline double exp_(double x) { return exp(x); }
"""
_COMMON = """\
static inline real sigmoid_(real x) { return 1 / (1 + exp_(-x)); }
static inline real tanh_(real x) { return 1 - 2 / (1 + exp_(2 * x)); }
static inline real silu_back(real d, real x)
{
    real s = sigmoid_(x);
    return d * s * (1 + x * (1 - s));
}
"""
_START = """\
#include <math.h>
#include <stdint.h>

#define PRAGMA(x) _Pragma(#x)

"""
# The places that one operation reads and writes are the same or have nothing in common.
_APART = "omp simd"
# Numbers that a function may have for a row beside what it is given.
_OWN = 2**14

_Texts = list[str]
# By operation: its result for one number of each operand, with its options.
_ELEMENTS: dict[str, Callable[[_Texts, dict[str, float]], str]] = {
    "add": lambda x, o: f"{x[0]} + {_times(o, 'alpha')}{x[1]}",
    "sub": lambda x, o: f"{x[0]} - {_times(o, 'alpha')}{x[1]}",
    "rsub": lambda x, o: f"{x[1]} - {_times(o, 'alpha')}{x[0]}",
    "mul": lambda x, o: f"{x[0]} * {x[1]}",
    "div": lambda x, o: f"{x[0]} / {x[1]}",
    "neg": lambda x, o: f"-{x[0]}",
    "exp": lambda x, o: f"exp_({x[0]})",
    "tanh": lambda x, o: f"tanh_({x[0]})",
    "sigmoid": lambda x, o: f"sigmoid_({x[0]})",
    "relu": lambda x, o: f"{x[0]} < 0 ? 0 : {x[0]}",
    "silu": lambda x, o: f"{x[0]} * sigmoid_({x[0]})",
    "addcmul": lambda x, o: f"{x[0]} + {_times(o, 'value')}{x[1]} * {x[2]}",
    "lerp": lambda x, o: f"{x[0]} + {x[2]} * ({x[1]} - {x[0]})",
    "copy": lambda x, o: x[1],
    "clone": lambda x, o: x[0],
    "sigmoid_backward": lambda x, o: f"{x[0]} * (1 - {x[1]}) * {x[1]}",
    "tanh_backward": lambda x, o: f"{x[0]} * (1 - {x[1]} * {x[1]})",
    "threshold_backward": lambda x, o: f"{x[1]} <= {x[2]} ? 0 : {x[0]}",
    "silu_backward": lambda x, o: f"silu_back({x[0]}, {x[1]})",
}


def _times(options: dict[str, float], name: str) -> str:
    value = float(options.get(name, 1.0))
    return "" if value == 1.0 else f"{_number(value)} * "


def _number(value: float) -> str:
    if isfinite(value):
        return f"(real){value!r}"
    return {"inf": "INFINITY", "-inf": "-INFINITY"}.get(str(value), "NAN")


def file(functions: Iterable[str], single: bool) -> str:
    """A whole file of C, in single or in double precision."""
    return "\n".join([_START + (_SINGLE if single else _DOUBLE) + _COMMON, *functions])


@dataclass(frozen=True)
class Function:
    """The text of a function, and the numbers of the tensors that it takes: those of so many rows, each an
    address and the distance between two rows, then those of one for all, each an address."""

    name: str
    text: str
    rows: tuple[int, ...]
    flat: tuple[int, ...]


def function(
    name: str, operations: Sequence[Operation], own: dict[int, int], flat: frozenset[int]
) -> Function:
    """Some operations, none of them a product.

    own: by number the widths of tensors that nothing but these operations reads. flat: the numbers of tensors
    that are the same for all rows.
    Raises Unknown for an operation that is not known here.
    """
    if sum(own.values()) > _OWN:
        raise Unknown("rows too wide for what is between")
    body = [line for operation in operations for line in _loops(operation)]
    taken = dict.fromkeys(p.tensor for o in operations for p in o.places if p.tensor not in own)
    rows, alike = (tuple(i for i in taken if (i in flat) == is_flat) for is_flat in (False, True))
    arguments = [*(f"real *p{i}, int64_t s{i}" for i in rows), *(f"real *x{i}" for i in alike)]
    lines = [f"void {name}(int64_t n, {', '.join(arguments)})", "{"]
    lines += ["    for (int64_t row = 0; row < n; row++) {"]
    lines += [f"        real *x{i} = p{i} + row * s{i};" for i in rows]
    lines += [f"        real x{i}[{width}];" for i, width in own.items()]
    text = "\n".join([*lines, *(f"        {line}" for line in body), "    }", "}", ""])
    return Function(name, text, rows, alike)


def _loops(operation: Operation) -> list[str]:
    match operation.name:
        case "sum":
            return _sum(operation)
        case "cat":
            return _cat(operation)
        case "constant_pad_nd":
            return _pad(operation)
    into, options = operation.into, operation.options
    if operation.name not in _ELEMENTS or not set(options) <= {"alpha", "value"}:
        raise Unknown(operation.name)
    texts = [_at(x, into.width) for x in operation.operands]
    return _loop(into.width, f"{_at(into, into.width)} = {_ELEMENTS[operation.name](texts, options)};")


def _sum(operation: Operation) -> list[str]:
    """Over channels, which stay as one."""
    x, *rest = operation.operands
    if not isinstance(x, Place) or rest not in ([-1.0, 1.0], [1.0, 1.0]) or operation.options:
        raise Unknown("a sum over rows")
    added = _loop(x.width, f"total += {_at(x, x.width)};", "omp simd reduction(+:total)")
    return ["{", "real total = 0;", *added, f"{_at(operation.into, 1)} = total;", "}"]


def _cat(operation: Operation) -> list[str]:
    """Channels side by side."""
    *parts, dim = operation.operands
    if dim not in (-1.0, 1.0):
        raise Unknown("rows side by side")
    start, lines = operation.into.start, []
    for x in parts:
        if not isinstance(x, Place):
            raise Unknown("a number beside channels")
        lines += _loop(
            x.width,
            f"{_at(replace(x, tensor=operation.into.tensor, start=start), x.width)} = {_at(x, x.width)};",
        )
        start += x.width
    return lines


def _pad(operation: Operation) -> list[str]:
    """Channels with zeros beside them."""
    x, before, *rest = operation.operands
    if not isinstance(x, Place) or isinstance(before, Place) or len(rest) != 2 or rest[1] != 0.0:
        raise Unknown("padding of rows")
    into = operation.into
    part = replace(into, start=into.start + int(before), width=x.width)
    return [
        *_loop(into.width, f"{_at(into, into.width)} = 0;"),
        *_loop(x.width, f"{_at(part, x.width)} = {_at(x, x.width)};"),
    ]


def _loop(width: int, statement: str, pragma: str = _APART) -> list[str]:
    """A statement for each channel `c`."""
    if width == 1:
        return [statement]
    return [f"PRAGMA({pragma})", f"for (int64_t c = 0; c < {width}; c++) {statement}"]


def _at(x: Operand, width: int) -> str:
    """One number of an operand, where there are so many channels: that of one channel is for all."""
    if not isinstance(x, Place):
        return _number(x)
    if x.width not in (1, width):
        raise Unknown("values of different widths")
    pointer = f"(x{x.tensor} + {x.start})" if x.start else f"x{x.tensor}"
    return f"{pointer}[{'0' if x.width == 1 else 'c'}]"
