"""Layers that are one operation: `linear norm batch_norm dropout dice prelu`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from specc.ops import op
from specc.ops.definition import Attrs, Call, Derivative, Effect, OpDef, Option, Positions, Traits, slots
from specc.ops.fused import projected
from specc.ops.products import products_of
from specc.ops.rules import Inputs, same
from specc.types.axis import Type

if TYPE_CHECKING:
    from specc.ir.graph import Node
    from specc.ops.checker import Checker


def _linear(check: Checker, node: Node, inputs: Inputs) -> Type:
    (x,) = inputs
    check.require(node, check.weights[node.weights[0]].shape[1] == x.width, "the matrix's columns")
    return projected(check, node, x, products_of(node, x.width))


def _layer(check: Checker, node: Node, inputs: Inputs) -> Type:
    check.shapes(node, *[(inputs[0].width,)] * len(node.weights))
    trains = node.attrs.get("statistics", "fixed") != "fixed"
    check.require(node, not (trains and check.region is not None), "a batch has no statistics in a region")
    return inputs[0]


def _by_group(check: Checker, node: Node, inputs: Inputs) -> Type:
    x, group = inputs
    check.shapes(node, *[(node.attrs["groups"], x.width)] * len(node.weights))
    check.require(node, group.width == 1 and set(group.axes) <= set(x.axes), f"the group {group}")
    trains = node.attrs["statistics"] != "fixed"
    check.require(node, not (trains and check.region is not None), "a batch has no statistics in a region")
    return x


def _statistics(attrs: Attrs) -> Effect:
    """Return the effect: batch statistics, unless the node always uses the stored ones, which then never
    change."""
    return Effect.PURE if attrs["statistics"] == "fixed" else Effect.STATISTICS


_SAME = Traits(effect=Effect.PURE, portable=True, positions=Positions.SAME)
_READS_INPUT = Derivative(inputs=True)
_EPS = Option("eps", "number", 1e-5)
_OPTIONS = (
    Option("momentum", "rate", 0.1),
    Option("statistics", "choice", "running", choices=("running", "batch", "fixed")),
)
_NORMALISED = {"eps": float, "momentum": float, "statistics": str}
NO_BIAS = ("zeros",)  # how a bias starts unless it is said
LINEAR_OPTIONS = (
    Option("bias", "bool", True),
    Option("init", "init", ("xavier",)),
    Option("l2", "number", 0.0),
    Option("bias_init", "init", NO_BIAS),
)
DEFINITIONS = (
    OpDef(
        op.LINEAR, "layers", "x W^T + b, to n channels, or along a static axis.", slots("x"), _linear,
        weights=slots("weight bias?"), traits=_SAME, derivative=_READS_INPUT,
        call=Call(("x",), (Option("n", "count"), *LINEAR_OPTIONS), {"over": False, "new": False}),
    ),
    OpDef(
        op.NORM, "layers", "Layer normalisation over channels, with scale and shift (Ba et al. 2016).",
        slots("x"), _layer, attrs={"eps": float}, weights=slots("scale shift"), traits=_SAME,
        call=Call(("x",), (_EPS,)), derivative=_READS_INPUT,
    ),
    # With statistics = running those of the batch in training, else the running ones; with batch those of the
    # batch always; with fixed the stored ones always.
    OpDef(
        op.BATCH_NORM, "layers",
        "Batch normalisation over examples and positions (Ioffe and Szegedy 2015).", slots("x"), _layer,
        attrs=_NORMALISED, weights=slots("scale? shift? running_mean running_var"),
        traits=Traits(effect=_statistics, portable=True),
        call=Call(
            ("x",),
            (_EPS, *_OPTIONS, Option("affine", "bool", True), Option("groups", "count", None)),
            {"by": False},
        ),
        derivative=_READS_INPUT,
    ),
    OpDef(
        op.BATCH_NORM_BY, "layers",
        "Batch normalisation with statistics, scale and shift of each of several groups.", slots("x group"),
        _by_group, attrs={**_NORMALISED, "groups": int},
        weights=slots("scale? shift? running_mean running_var"),
        traits=Traits(effect=_statistics, portable=True), derivative=_READS_INPUT, noun="batch_norm",
    ),
    OpDef(
        op.DROPOUT, "layers", "In training, channels are 0 at rate p and the others scaled by 1/(1-p).",
        slots("x"), same, attrs={"p": int | float},
        traits=Traits(effect=Effect.RANDOM, portable=True, positions=Positions.SAME),
        call=Call(("x",), (Option("p", "rate"),)), derivative=Derivative(),
    ),
    # p x + (1-p) a x, p = sigmoid of x normalised without affine.
    OpDef(
        op.DICE, "layers", "Data-adaptive activation (DIN, eq. 8), slope 0 at the start.", slots("x"), _layer,
        attrs=_NORMALISED, weights=slots("slope running_mean running_var"),
        traits=Traits(effect=_statistics, portable=True, activation=True),
        call=Call(("x",), (Option("eps", "number", 1e-8), *_OPTIONS)), derivative=_READS_INPUT,
    ),
    OpDef(
        op.PRELU, "layers", "x where positive, else slope * x, a slope a channel (He et al. 2015).",
        slots("x"), _layer, weights=slots("slope"),
        traits=Traits(effect=Effect.PURE, portable=True, positions=Positions.SAME, activation=True),
        call=Call(("x",), (Option("init", "number", 0.25),)), derivative=_READS_INPUT,
    ),
)  # fmt: skip
