"""What definitions promise of operations, held against what these compute (`specc.interpret`)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from specc.interpret import MEANINGS
from specc.interpret.values import Example, Setting, Value
from specc.ir.graph import Node
from specc.ops import OPS, OpDef
from specc.ops.definition import Effect, Positions
from specc.source import Source, Span
from specc.types.axis import Type
from specc_runtime import ops as runtime_ops

WIDTH = 4
# Of numbers; keys are compared, too.
POINTWISE = [known for known in OPS.values() if known.traits.pointwise and known.group == "arithmetic"]
EACH = pytest.mark.parametrize("known", POINTWISE, ids=lambda known: known.name)
_OPTIONS = {"slope": 0.3, "low": -0.4, "high": 0.6}
_SETTING = Setting(Example({}, {}), {"": torch.zeros(1, dtype=torch.float64)})


def numbers(known: OpDef, seed: int = 0) -> list[Tensor]:
    """Inputs, all positive, some of them equal: where all operations are defined, and conditions differ."""
    generator = torch.Generator().manual_seed(seed)
    found = [0.1 + torch.rand(WIDTH, generator=generator, dtype=torch.float64) for _ in known.inputs]
    for other in found[1:]:
        other[0] = found[0][0]
    return found


def attributes(known: OpDef) -> dict[str, float]:
    return {name: _OPTIONS[name] for name in known.attrs}


def computed(known: OpDef, given: list[Tensor]) -> Tensor:
    """What an operation makes of vectors."""
    span = Span(Source("traits.arec", ""), 0, 0)
    ids = tuple(range(len(given)))
    node = Node(len(given), known.name, ids, Type((), len(given[0])), span, attributes(known))
    return MEANINGS[known.name](node, tuple(Value((), {(): x}) for x in given), _SETTING).only


@EACH
def test_pointwise_is_channel_by_channel_and_pure(known: OpDef) -> None:
    given = numbers(known)
    whole = computed(known, given)
    for channel in range(WIDTH):
        alone = computed(known, [x[channel : channel + 1] for x in given])
        assert torch.equal(alone, whole[channel : channel + 1])
    assert known.effect({}) is Effect.PURE
    assert known.traits.positions is Positions.SAME
    assert not known.weights


@EACH
def test_traits_are_true(known: OpDef) -> None:
    traits, given = known.traits, numbers(known)
    value = computed(known, given)
    if len(given) == 2:
        swapped = torch.equal(computed(known, given[::-1]), value)
        assert swapped == traits.commutative
    if traits.terms is not None:
        assert torch.allclose(value, sum(c * x for c, x in zip(traits.terms, given, strict=True)))
    assert not traits.condition or bool(((value == 0) | (value == 1)).all())
    if known.neutral is not None:
        assert torch.equal(computed(known, [given[0], torch.full_like(given[0], known.neutral)]), given[0])
    if known.fold is not None:
        folded = [known.fold(*(float(x[i]) for x in given)) for i in range(WIDTH)]
        assert torch.allclose(torch.tensor(folded, dtype=torch.float64), value)


@EACH
@pytest.mark.parametrize("sign", [1, -1])
def test_derivatives_are_those_of_the_values(known: OpDef, sign: int) -> None:
    """Also of what they say they read; on either side of 0, where that is in the domain."""
    derivative = known.derivative
    assert derivative is not None
    given = [(sign * x if len(known.inputs) == 1 else x).requires_grad_() for x in numbers(known)]
    value = computed(known, given)
    if not torch.isfinite(value).all() or not value.requires_grad:
        return
    d = torch.linspace(0.5, 2, WIDTH, dtype=torch.float64)
    wanted = torch.autograd.grad(value, given, d, allow_unused=True)
    named = {slot.name: x.detach() for slot, x in zip(known.inputs, given, strict=True)}
    names = {**named, "d": d, "y": value.detach()}
    for text, slope in zip(derivative.python, wanted, strict=False):
        if not text:
            continue
        read = {name for name in names if f"{{{name}}}" in text}
        assert derivative.output or "y" not in read
        assert derivative.inputs or not read & named.keys()
        formed = text.format(**{name: name for name in names}, **attributes(known))
        found = eval(formed, {"torch": torch, "F": F, "ops": runtime_ops, **names})  # noqa: S307
        assert slope is not None
        assert torch.allclose(found, slope)
