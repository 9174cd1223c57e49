"""What an exported program takes and gives, as its manifest says it, and a batch as what it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from specc_runtime.batch import Bag, Batch

DTYPES = {"int64": torch.int64, "float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Input:
    """One tensor that a program takes.

    field: the path of the field that it is of; None for lengths of an axis. part: of a field its "column",
    or of a multi-valued one "values", "lengths" and "weights"; "lengths" of an axis. axis: whose lengths they
    are, "candidate" for how many candidates each request has. dimensions: names, and sizes that are fixed.
    rows: the ids of the axes that it has a row for each position of, outermost first; None for bags' values.
    """

    name: str
    field: str | None
    part: Literal["column", "values", "lengths", "weights"]
    axis: str | None
    dtype: str
    dimensions: tuple[str | int, ...]
    rows: tuple[str, ...] | None


@dataclass(frozen=True)
class Output:
    """One tensor that a program gives. kind: of a prediction "binary", "real" or "class", whose values are
    logits but for "real"; else "output"."""

    name: str
    kind: str
    dtype: str
    dimensions: tuple[str | int, ...]


@dataclass(frozen=True)
class Signature:
    """form: "request", one request with its candidates, or "batch". candidates: whether there are any."""

    form: Literal["request", "batch"]
    candidates: bool
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(entry: Mapping[str, Any]) -> Signature:
        """Raises KeyError or TypeError for what `as_json` did not give."""
        inputs = tuple(
            Input(
                **{
                    **x,
                    "dimensions": tuple(x["dimensions"]),
                    "rows": None if x["rows"] is None else tuple(x["rows"]),
                }
            )
            for x in entry["inputs"]
        )
        outputs = tuple(Output(**{**x, "dimensions": tuple(x["dimensions"])}) for x in entry["outputs"])
        return Signature(entry["form"], entry["candidates"], inputs, outputs)

    def tensors(self, batch: Batch) -> list[Tensor]:
        """What the program takes, of a batch of requests with candidates.

        Raises ValueError for a batch of another form.
        """
        if self.form == "request" and batch.size != 1:
            raise ValueError(f"the program scores one request at a time, and the batch has {batch.size}")
        return [self._tensor(entry, batch) for entry in self.inputs]

    def _tensor(self, entry: Input, batch: Batch) -> Tensor:
        if entry.field is None:
            assert entry.axis is not None
            if entry.axis != "candidate":
                found: Tensor = batch.lengths[entry.axis]
            elif batch.candidates is None:
                found = torch.ones(batch.size, dtype=torch.int64)
            else:
                found = batch.candidates
        else:
            values = batch.fields[entry.field]
            found = getattr(values, entry.part) if isinstance(values, Bag) else values
        return found.to(DTYPES[entry.dtype])

    def results(self, values: Sequence[Tensor]) -> dict[str, Tensor]:
        """What the program gave, by name."""
        return {output.name: value for output, value in zip(self.outputs, values, strict=True)}
