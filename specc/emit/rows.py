"""Print a recurrence's step and its derivative, straight-line code over rows, as Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from specc.emit.code import ATOM, PRODUCT, UNARY, Expr, infix, number, target, tuple_text
from specc.emit.kernels import LEVELS
from specc.emit.names import Names
from specc.emit.texts import filled
from specc.lower.native import Run
from specc.lower.program import Derived, Function, Kernel, Value
from specc.ops import OPS, op
from specc.ops.definition import Pointwise


def function_lines(function: Function, runs: Mapping[Run, str], *first: str) -> list[str]:
    """Return the statements of a function. runs: the names of the C functions that it calls. first: names
    that are taken already."""
    return _Rows(function, runs, first).lines()


class _Rows:
    def __init__(self, function: Function, runs: Mapping[Run, str], first: tuple[str, ...]) -> None:
        self.function = function
        self.runs = runs
        self.names = Names(*function.groups, *first)
        self.texts: dict[Value, Expr] = {}
        returned: Any = function.results if function.returned is None else function.returned
        self.returned = tuple(returned)
        read = [v for k in function.kernels for v in dict.fromkeys((*k.operands(), k.over)) if v is not None]
        self.read = Counter([*read, *_values(self.returned)])

    def lines(self) -> list[str]:
        found = []
        for group, values in self.function.groups.items():
            for value in values:
                self.texts[value] = Expr(self.names.take(*value.names))
            if any(v in self.read for v in values):
                names = [self.texts[v].text if v in self.read else "_" for v in values]
                found.append(f"{target(names)} = {group}")
        for kernel in self.function.kernels:
            found += self._statement(kernel)
        returned = self._tuple(self.returned)
        nested = any(isinstance(v, tuple) for v in self.returned)
        return [*found, f"return {returned[1:-1] if nested else returned}"]

    def _tuple(self, values: tuple[Any, ...]) -> str:
        texts = [self._tuple(v) if isinstance(v, tuple) else self._text(v).text for v in values]
        return tuple_text(texts)

    def _text(self, value: Any) -> Expr:
        if isinstance(value, Value):
            return number(value.number) if value.dtype == "number" else self.texts[value]
        if isinstance(value, Run):
            return Expr(self.runs[value])
        return Expr(repr(value))

    def _statement(self, kernel: Kernel) -> list[str]:
        if not kernel.results:
            return [self._written(kernel).text]
        value = kernel.result
        if value not in self.read and kernel.over is None:
            return []  # a view of which only parts are read
        expr = self._written(kernel)
        if value not in self.read:
            return [expr.text]
        # What is written over lies in a local, or in the expression that alone reads it.
        if not value.held and self.read[value] == 1 and kernel.name != "empty_rows":
            self.texts[value] = expr
            return []
        self.texts[value] = Expr(self.names.take(*(value.names or ("part",))))
        return [f"{self.texts[value].text} = {expr.text}"]

    def _written(self, kernel: Kernel) -> Expr:
        args, over = kernel.args, kernel.over
        if kernel.name == "derived":
            return self._derived(args[0], args[1:], over)
        if kernel.name in OPS and isinstance(OPS[kernel.name].lowering, Pointwise):
            return self._pointwise(kernel)
        texts = [self._text(a) for a in args if not isinstance(a, (list, tuple))]
        if kernel.name in _FORMS and over is None:
            return _FORMS[kernel.name](texts, args)
        name = {"mm": "matmul"}.get(kernel.name, kernel.name)
        parts = [t.text for t in texts]
        match kernel.name:
            case "cat":
                parts = [f"[{', '.join(self._text(v).text for v in args[0])}]", "-1"]
            case "copy":
                assert over is not None
                return Expr(f"{self._text(over).at(ATOM)}.copy_({parts[0]})")
            case "run":
                return Expr(f"{parts[0]}({', '.join(parts[1:])})")
        if over is not None and over is args[0]:
            return Expr(f"{texts[0].at(ATOM)}.{name}_({', '.join(parts[1:])})")
        into = [] if over is None else [f"out={self._text(over).text}"]
        return Expr(f"torch.{name}({', '.join([*parts, *into])})")

    def _pointwise(self, kernel: Kernel) -> Expr:
        """Return a pointwise operation as an expression: of its operands, over its first one, or into a
        buffer."""
        found, over = OPS[kernel.name], kernel.over
        form = found.lowering
        assert isinstance(form, Pointwise)
        texts = [self._text(a) for a in kernel.args]
        names = [*(s.name for s in found.inputs), *found.attrs]
        given = dict(zip(names, texts, strict=True))
        if over is None:
            if form.infix:
                return infix(texts[0], form.infix, texts[1], LEVELS[form.infix])
            if form.prefix:
                return Expr(f"{form.prefix}{texts[0].at(UNARY)}", UNARY)
            return filled(form.python, given)
        if over is not kernel.args[0]:
            return filled(form.out, given | {"out": self._text(over)})
        if kernel.options:
            options = ", ".join(f"{key}={value!r}" for key, value in kernel.options.items())
            return Expr(f"{texts[0].at(ATOM)}.{kernel.name}_({texts[1].text}, {options})")
        if kernel.name == op.TANH:  # specc_runtime.ops has a quicker one
            return Expr(f"ops.tanh_({texts[0].text})")
        return filled(form.over, given)

    def _derived(self, derived: Derived, operands: tuple[Value, ...], over: Value | None) -> Expr:
        found = OPS[derived.op].derivative
        assert found is not None
        given = {name: self._text(v) for name, v in zip(derived.args, operands, strict=True)}
        given |= {name: Expr(repr(value)) for name, value in derived.attrs.items()}
        if over is None:
            return filled(found.python[derived.input], given)
        place = self._text(over)
        if out := "".join(found.out[derived.input :][:1]):
            return filled(out, given | {"out": place})
        return Expr(f"{place.at(ATOM)}.copy_({filled(found.python[derived.input], given).text})")


def _values(parts: Any) -> list[Value]:
    """Return the values in nested tuples."""
    found = []
    for part in parts:
        if isinstance(part, tuple):
            found += _values(part)
        elif part is not None:
            found.append(part)
    return found


_FORMS: dict[str, Callable[[list[Expr], tuple[Any, ...]], Expr]] = {
    "mm": lambda x, _: Expr(f"{x[0].at(PRODUCT)} @ {x[1].text}", PRODUCT),
    "columns": lambda x, _: Expr(f"{x[0].at(ATOM)}[:, {x[1].text}:{x[2].text}]"),
    "sum": lambda x, _: Expr(f"{x[0].at(ATOM)}.sum(-1, keepdim=True)"),
    op.DOT: lambda x, _: Expr(f"({x[0].text} * {x[1].text}).sum(-1, keepdim=True)"),
    "pad": lambda x, args: Expr(f"F.pad({x[0].text}, {args[1]})"),
    "empty_rows": lambda x, _: Expr(f"{x[0].text}.new_empty(len({x[0].text}), {x[1].text})"),
}
