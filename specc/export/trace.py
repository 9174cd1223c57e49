"""A model in portable operations, and traced by torch.export with every size free."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._dynamo import config as dynamo_config
from torch._subclasses import fake_impls
from torch.export import Dim, ExportedProgram

from specc.emit.portable import portable_source_of
from specc.ir.graph import Graph
from specc_runtime.generated import run
from specc_runtime.portable.inputs import DTYPES, Signature
from specc_runtime.portable.model import Portable

# Of the sizes of what is traced: 0 and 1 would be taken to be so always.
_SIZES = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


def portable(
    graph: Graph, signature: Signature, alone: str | None, weights: Mapping[str, Tensor]
) -> Portable:
    """The portable module of an exported graph, with weights of these; no gradients."""
    module = run(portable_source_of(graph, alone), f"arec_{graph.name}_portable", f"{graph.name} for export")
    kinds = [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Portable)]
    model: Portable = next(k for k in kinds if k.__module__ == module.__name__)()
    own = model.state_dict()
    model.to(next((w.dtype for w in weights.values() if w.is_floating_point()), torch.float32))
    model.load_state_dict({path: weights[path].detach().cpu() for path in own})
    model.signature = signature
    return model.eval().requires_grad_(False)


def traced(model: Portable) -> ExportedProgram:
    """The program of a portable model."""
    names: dict[str, Dim] = {}
    sizes: dict[str, int] = {}
    shapes, tensors = [], []
    for entry in model.signature.inputs:
        shape, dynamic = [], {}
        for place, size in enumerate(entry.dimensions):
            if isinstance(size, str):
                if size not in names:
                    sizes[size] = _SIZES[len(sizes) % len(_SIZES)]
                    names[size] = Dim(f"n{len(names)}_{re.sub(r'[^0-9A-Za-z]', '_', size)}", min=0)
                dynamic[place] = names[size]
                shape.append(sizes[size])
            else:
                shape.append(size)
        tensors.append(torch.zeros(shape, dtype=DTYPES[entry.dtype]))
        shapes.append(dynamic)
    # A width differs from loop to loop, and is no symbol for that.
    with torch.no_grad(), views(), apart(model), dynamo_config.patch(automatic_dynamic_shapes=False):
        return torch.export.export(
            model, tuple(tensors), dynamic_shapes={"tensors": tuple(shapes)}, strict=False
        )


@contextmanager
def views() -> Iterator[None]:
    """Have torch say the strides of a contiguous tensor's views by their sizes alone.

    For sizes that inputs say it merges and parts dimensions one by one: of what it merges it leaves the
    lesser of two strides in the program, min(t, s * t), and takes s not to be 0; of what it parts a division,
    s * s // s. Of sizes that tensors say it knows better, and this has it take all sizes for such. A torch
    without the function that this replaces is left as it is.
    """
    name = "_view_has_unbacked_input"
    known = getattr(fake_impls, name, None)
    if known is None:
        yield
        return
    setattr(fake_impls, name, lambda *_: True)
    try:
        yield
    finally:
        setattr(fake_impls, name, known)


@contextmanager
def apart(model: Portable) -> Iterator[None]:
    """Have torch number the sizes that tensors say (u0, u1, ...) from a thousand on.

    The body of a loop is traced by dynamo, which numbers the sizes there from 0 again, and takes the size u1
    of the program around it for its own u1 where it has one by then.
    """

    def ahead(_: Any, tensors: tuple[Tensor, ...]) -> None:
        sizes: list[Any] = [size for x in tensors for size in x.shape]
        known: Any = next((size.node.shape_env for size in sizes if isinstance(size, torch.SymInt)), None)
        if hasattr(known, "unbacked_symint_counter"):
            known.unbacked_symint_counter += 1000

    hook = model.register_forward_pre_hook(ahead)
    try:
        yield
    finally:
        hook.remove()
