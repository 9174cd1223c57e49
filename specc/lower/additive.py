"""Scores of sums of two values of other rows, as additive attention has them, in one kernel.

    linear(relu(expand(a) + expand(b))) = additive_score(a, b)

A query's part and a key's are repeated for all pairs of them, added, and read once: four values as large as
all pairs, and as many again for their gradients. Promises: the same values. Scoring
in C has its own way (emit.scoring), which follows repeated rows without copying them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from specc.lower.buffers import reads_of
from specc.lower.program import Function, Kernel, Parameter, Program, Rows, Value
from specc.ops import op

NAME = "additive_score"
# Those of the runtime's kernel.
_ACTIVATIONS = (op.RELU, op.SIGMOID, op.TANH)


def join(program: Program) -> None:
    """Have predictions compute such scores in one kernel each. The parts of scoring are left as they are."""
    for function in (program.shared, program.forward):
        if function is not None:
            _Joined(function).join()


class _Joined:
    def __init__(self, function: Function) -> None:
        self.function = function
        self.made = {r: k for k in function.kernels for r in k.results if r is not None}
        self.reads: Counter[Value] = reads_of(function)
        self.results = {*function.results}

    def join(self) -> None:
        gone: set[int] = set()
        kernels: list[Kernel] = []
        scores: set[Value] = set()
        for kernel in self.function.kernels:
            found = self._joined(kernel)
            if found is not None:
                joined, parts = found
                scores.add(joined.result)
                gone |= {id(part) for part in parts}
                kernel = joined
            kernels.append(kernel)
        self.function.kernels = [k for k in kernels if id(k) not in gone]
        # What a layer would have done with its result besides, these scores do not.
        for kernel in self.function.kernels:
            if kernel.over in scores:
                kernel.within = False

    def _joined(self, kernel: Kernel) -> tuple[Kernel, list[Kernel]] | None:
        """What a layer becomes, and the kernels that it replaces; None where it is no such score."""
        if kernel.name != op.LINEAR or kernel.result.width != 1:
            return None
        layer, hidden = kernel.args
        active = self._alone(hidden)
        if active is None or active.name not in _ACTIVATIONS or not isinstance(layer, Parameter):
            return None
        total = self._alone(active.args[0])
        domain = hidden.shape.domain
        if total is None or total.name != op.ADD or domain is None or hidden.shape.dims:
            return None
        terms = [
            x for x in total.args if isinstance(x, Value) and x.width == hidden.width and not x.shape.dims
        ]
        repeated = [self._repeated(x) for x in terms]
        if len(terms) < 2 or not any(repeated):
            return None
        rows = next(Rows(domain, k.args[2].device, k.args[2].ranked) for k in repeated if k is not None)
        given: list[Any] = []
        for x, found in zip(terms, repeated, strict=True):
            if found is None and x.shape.domain != domain:
                return None
            given += [x, rows] if found is None else found.args[:2]
        parts = [active, total, *(k for k in repeated if k is not None)]
        joined = Kernel(NAME, (layer, active.name, *given, rows), kernel.results, span=kernel.span)
        return joined, parts

    def _alone(self, value: Any) -> Kernel | None:
        """What made a value that only one kernel reads."""
        if not isinstance(value, Value) or self.reads[value] != 1 or value in self.results:
            return None
        return self.made.get(value)

    def _repeated(self, value: Value) -> Kernel | None:
        found = self._alone(value)
        return found if found is not None and found.name == "expand" else None
