"""An exported program held against the model: at several sizes, 0 and 1 among them.

Where they differ by more than is tolerated, both are held against the model in double precision: of a value
that rounding moves far, two right programs are as far apart as each is from the truth.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from specc.export import ExportError, told
from specc.testing.batches import drawn_batch
from specc_runtime import Batch, Model
from specc_runtime.engines import Run
from specc_runtime.portable.inputs import Signature

TOLERANCE = 1e-5  # of results up to 1, and a share of larger ones
ROUNDED = 4  # so many times as far from double precision as the model itself a program may be
_LONG = 64  # bounds are not met where they are larger
# Requests, candidates of each at least and at most, lengths at least and at most.
SIZES = (
    (3, 0, 3, 0, 4),
    (1, 1, 1, 1, 1),
    (2, 2, 2, 0, 0),
    (2, 0, 0, 1, 3),
    (4, 1, 5, 2, 7),
    (2, 1, 2, _LONG, _LONG),
)


@dataclass
class _Drawn:
    """Numbers of a generator, and lengths of a range as far as their bound allows. few: how many candidates a
    request has at least, which are asked for first; None where there are none."""

    generator: torch.Generator
    least: int
    most: int
    few: int | None

    def lengths(self, count: int, bound: int) -> Tensor:
        if self.few is not None:
            few, self.few = self.few, None
            return torch.randint(few, bound + 1, (count,), generator=self.generator)
        least, most = min(self.least, bound), min(self.most, bound)
        return torch.randint(least, most + 1, (count,), generator=self.generator)

    def ids(self, count: int, rows: int) -> Tensor:
        return torch.randint(0, rows, (count,), generator=self.generator)

    def numbers(self, count: int, width: int) -> Tensor:
        return torch.randn(count, width, generator=self.generator)

    def absent(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.bool)


def batches(manifest: Mapping[str, Any], signature: Signature) -> Iterator[Batch]:
    """Batches of many sizes as a program of a signature takes them."""
    has = any(s["role"] == "candidate" for s in manifest["spaces"])
    for number, (requests, few, many, least, most) in enumerate(SIZES):
        size = 1 if signature.form == "request" else requests
        source = _Drawn(torch.Generator().manual_seed(number), least, most, few if has else None)
        yield drawn_batch(manifest, size, source, has, many)


def furthest(model: Model, run: Run, signature: Signature, alone: str | None) -> float:
    """The largest difference of a program's results from the model's, as a share of those beyond 1.

    Raises ExportError where one is of another shape, is beyond what is tolerated, or the program fails.
    """
    worst = 0.0
    for batch in batches(model.manifest, signature):
        wanted = _results(model, alone, batch)
        what = _named(batch)
        try:
            found = signature.results(run(signature.tensors(batch)))
        except Exception as error:  # whatever an engine raises
            raise ExportError(f"the exported program fails on {what}: {told(error)}") from error
        for name, value in found.items():
            own = wanted[name]
            if own.shape != value.shape:
                shapes = f"{list(value.shape)} and not {list(own.shape)}"
                raise ExportError(f"the exported program gives {name} as {shapes}, of {what}")
            apart = _apart(value, own)
            if not apart <= TOLERANCE:
                exact = _results(copy.deepcopy(model).double(), alone, batch)[name]
                rounding = _apart(own, exact)
                if not _apart(value, exact) <= ROUNDED * rounding:
                    raise ExportError(
                        f"the exported program's {name} is {apart:.1e} off the model's, of {what}, where "
                        f"rounding moves the model by {rounding:.0e}"
                    )
            worst = max(worst, apart)
    return worst


def _results(model: Model, alone: str | None, batch: Batch) -> dict[str, Tensor]:
    with torch.no_grad():
        found = model(batch) if alone is None else {alone: model.output(alone, batch)}
    return {name: value.detach().cpu() for name, value in found.items()}


def _apart(value: Tensor, right: Tensor) -> float:
    """The largest difference, as a share of what is beyond 1; nan where one is not a number."""
    if not right.numel():
        return 0.0
    return ((right - value).abs() / right.abs().clamp(min=1)).max().item()


def _named(batch: Batch) -> str:
    counts = "" if batch.candidates is None else f" with {batch.candidates.tolist()} candidates"
    lengths = {axis: x.tolist() for axis, x in batch.lengths.items()}
    return f"{batch.size} requests{counts}, lengths {lengths}"
