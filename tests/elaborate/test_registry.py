"""The registry walked: every built-in and every op is documented, defined, implemented and met in a test.

That the implementation agrees with the definition is asked of the constructs (tests/oracle) that are met
here; this asks that they leave out nothing, and that derivatives are those of the values.
"""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch
from torch import Tensor

from specc.elaborate.builtins.registry import BUILTINS
from specc.interpret import ACROSS, MEANINGS
from specc.ir.graph import walk
from specc.ops import OPS
from specc.passes import PASSES, stages
from specc.testing import random_batch
from tests.oracle.constructs import CONSTRUCTS
from tests.oracle.subjects import compiled, construct, every_way

# What flows there is not the derivative of the value, by design; or nothing is predicted from weights.
_HIDDEN = {"stop_gradient", "loss_of_attention_only", "constant_and_attention"}


@cache
def ops_met() -> frozenset[str]:
    """The ops of all constructs' graphs, at all stages."""
    return frozenset(
        node.op for name in CONSTRUCTS for _, graph in stages(construct(name)) for node in walk(graph.nodes)
    )


@pytest.mark.parametrize("name", BUILTINS)
def test_a_built_in_is_documented_and_met(name: str) -> None:
    builtin = BUILTINS[name]
    assert re.fullmatch(r"\S.*\.", builtin.doc), "one sentence, or two"
    assert builtin.name == name
    assert builtin.usage.startswith(f"{name}(")
    assert any(re.search(rf"\b{name}\b", text) for text in CONSTRUCTS.values()), "no construct has it"


@pytest.mark.parametrize("name", OPS)
def test_an_op_is_documented_defined_and_met(name: str) -> None:
    op = OPS[name]
    assert op.name == name
    assert op.doc
    assert (name in MEANINGS) != (name in ACROSS), "it has one meaning"
    assert name in ops_met(), "no construct has it"


def test_there_are_no_meanings_of_nothing() -> None:
    assert MEANINGS.keys() | ACROSS.keys() == OPS.keys()


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_changes_some_construct(name: str) -> None:
    assert any(name in every_way(construct(c)) for c in CONSTRUCTS)


@pytest.mark.parametrize("name", [name for name in CONSTRUCTS if name not in _HIDDEN])
def test_gradients_are_derivatives(name: str) -> None:
    model = compiled(construct(name), "default")
    batch = random_batch(model.manifest, 3, seed=len(name), empty=0.2)
    paths = [path for path, weight in model.named_parameters() if weight.requires_grad]

    def outputs(*weights: Tensor) -> tuple[Tensor, ...]:
        given = dict(zip(paths, weights, strict=True))
        predictions: dict[str, Tensor] = torch.func.functional_call(model, given, (batch,))
        return tuple(x for x in predictions.values() if x.requires_grad)

    weights = [model.get_parameter(path).detach().clone().requires_grad_() for path in paths]
    assert torch.autograd.gradcheck(outputs, weights, fast_mode=True)
