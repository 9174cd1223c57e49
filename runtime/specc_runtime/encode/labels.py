"""Labels: what a column says of a prediction.

Promises: a null is an example without a label, NaN or class -1 in a batch. What cannot be a label is an Unfit
with its place.

    binary    0 to 1, true and false (texts of these too), or -1 and 1; with a condition, 1 where it holds and
              0 where it does not
    real      a number, within the range that the spec may give
    class     0 to n - 1; or texts, which are classes by name, in the order of the texts: those that the
              training data have; or keys of a table whose rows are the classes
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from specc_runtime.encode.faults import Unfit
from specc_runtime.encode.keys import canonical, is_text, texts
from specc_runtime.encode.kinds import filled, integers_of, measured, numbers_of, refuse, single
from specc_runtime.encode.numbers import short
from specc_runtime.encode.vocabulary import Vocabulary

_COMPARES: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_TRUTHS = {"true": 1, "false": 0}

Floats = npt.NDArray[np.float64]

UNKNOWN = -2
"""What stands for the label of a class prediction that is a key without a row."""


def labels_of(prediction: Mapping[str, Any], values: pa.Array, classes: tuple[str, ...] | None) -> Tensor:
    """The labels of a column: float32 [rows], for class predictions int64 [rows]. Raises Unfit.

    classes: those that the training data name, of a class prediction whose labels are texts.
    """
    if prediction["kind"] == "class":
        return torch.from_numpy(_classes(prediction, values, classes))
    if prediction["kind"] == "real":
        found = _numbers(measured({}, values))
        if prediction.get("range"):
            least, most = prediction["range"]
            refuse(
                (found < least) | (found > most),
                found,
                f"is not a label from {least:g} to {most:g}",
                "correct the label, or the `range` in the spec",
            )
    elif prediction.get("condition"):
        found = _compared(prediction["condition"], values)
    else:
        found = _binary(values)
    return torch.from_numpy(single(found))


def of_requests(manifest: Mapping[str, Any]) -> bool:
    """Whether data with labels have the form of requests: a row is one, with a list of its candidates' values
    in each of their columns, and a list of their labels."""
    return any(p.get("among") == "request" for p in manifest["predictions"])


def within(prediction: Mapping[str, Any], outputs: Tensor) -> Tensor:
    """What a model predicts, with values beyond the range of the labels at its nearer end."""
    return outputs.clamp(*prediction["range"]) if prediction.get("range") else outputs


def _numbers(values: pa.Array) -> Floats:
    """Numbers, NaN for a null."""
    values = filled(values, None)
    absent = np.asarray(values.is_null())
    if absent.all():
        return np.full(len(values), np.nan)
    return np.where(absent, np.nan, numbers_of(filled(values, 0)))


def _truths(values: pa.Array) -> pa.Array:
    """`true` and `false`, where texts say so, as 1 and 0."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not is_text(values.type):
        return values
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(values.cast(pa.large_string())))
    word = pc.is_in(lower, pa.array(list(_TRUTHS), lower.type))
    if not pc.any(word).as_py():
        return values
    number = pc.if_else(pc.equal(lower, "true"), pa.scalar("1", lower.type), pa.scalar("0", lower.type))
    return pc.if_else(word, number, values.cast(lower.type))


def _binary(values: pa.Array) -> Floats:
    found = _numbers(_truths(values))
    refuse(
        (found < 0) & (found != -1) | (found > 1),
        found,
        "is not a label from 0 to 1",
        'a label is made from a number by a condition, such as `from "rating" >= 4`',
    )
    if (found == -1).any():
        _unlike(found)
        found = np.where(found == -1, 0.0, found)
    return found


def _unlike(found: Floats) -> None:
    """Refuse what is neither 1 nor -1 among labels of these."""
    wrong = ~np.isnan(found) & (np.abs(found) != 1)
    refuse(wrong, found, "is a label among others of -1 and 1", "write 0 and 1, or -1 and 1")


def _compared(condition: Mapping[str, Any], values: pa.Array) -> Floats:
    compare, wanted = _COMPARES[condition["op"]], condition["value"]
    if isinstance(wanted, str):
        keys = texts(canonical(values))
        same = np.asarray(pc.equal(keys, wanted).fill_null(False))
        holds = same if condition["op"] == "==" else ~same
        absent = np.asarray(keys.is_null())
    else:
        found = _numbers(_truths(values) if isinstance(wanted, bool) else measured({}, values))
        holds, absent = compare(found, float(wanted)), np.isnan(found)
    return np.where(absent, np.nan, holds.astype(np.float64))


def row_labels(values: pa.Array, vocabulary: Vocabulary | None) -> npt.NDArray[np.int64]:
    """The rows of a table that labels name; -1 where there is none, `UNKNOWN` for a key without a row.
    Raises Unfit."""
    if vocabulary is None:
        raise Unfit("no vocabulary has been learned for it", help="train the model first")
    keys = canonical(values)
    rows = vocabulary.rows(keys)
    absent = np.asarray(keys.is_null())
    found: npt.NDArray[np.int64] = np.where(absent, -1, np.where(rows == 0, UNKNOWN, rows))
    return found


def _classes(
    prediction: Mapping[str, Any], values: pa.Array, names: tuple[str, ...] | None
) -> npt.NDArray[np.int64]:
    keys = canonical(values)
    absent = np.asarray(keys.is_null())
    if absent.all():
        return np.full(len(keys), -1, dtype=np.int64)
    if names is not None:
        found = pc.index_in(texts(keys), pa.array(names, pa.large_string())).fill_null(-1)
        rows: npt.NDArray[np.int64] = found.to_numpy().astype(np.int64)
        unknown = (rows < 0) & ~absent
        if unknown.any():
            first = int(unknown.argmax())
            raise Unfit(
                f"`{short(str(keys[first].as_py()))}` is not one of the classes of the training data",
                first,
                int(unknown.sum()) - 1,
                "they are " + ", ".join(f"`{short(name)}`" for name in names),
            )
        return rows
    classes = prediction["classes"]
    # What stands in the place of a null is a class, too.
    rows = integers_of(keys.fill_null("0" if is_text(keys.type) else 0))
    refuse((rows < 0) | (rows >= classes), rows, f"is not one of the classes 0 to {classes - 1}")
    return np.where(absent, -1, rows)


@dataclass
class Labels:
    """What the labels of one prediction are in the training data, as they come by."""

    prediction: Mapping[str, Any]
    present: int = 0
    chosen: int = 0
    zeros: bool = False
    signs: bool = False
    named: bool = False
    names: set[str] = field(default_factory=set)

    def add(self, values: pa.Array) -> None:
        """Raises Unfit."""
        kind = self.prediction["kind"]
        if kind == "class":
            keys = canonical(values).drop_null()
            self.present += len(keys)
            if self.prediction.get("rows"):
                return
            self.named |= not pa.types.is_int64(keys.type)
            # Numbers are kept, too: a name may come yet, and then they are names.
            if len(self.names) <= max(2 * self.prediction["classes"], 1_000):
                self.names.update(texts(keys).unique().to_pylist())
            return
        found = labels_of(self.prediction, values, None).numpy()
        self.present += int((~np.isnan(found)).sum())
        self.chosen += int((found > 0).sum())
        if kind == "binary" and not self.prediction.get("condition"):
            given = _numbers(_truths(values))
            self.signs |= bool((given == -1).any())
            self.zeros |= bool(((given > -1) & (given < 1)).any())
            if self.signs and self.zeros:
                _unlike(given)
                # What was there before them was not: 1 alone, or -1, is of both kinds.
                refuse(
                    given == -1, given, "is a label among others from 0 to 1", "write 0 and 1, or -1 and 1"
                )

    def classes(self) -> tuple[str, ...] | None:
        """The classes by name, in the order of the texts; None where labels are numbers. Raises Unfit."""
        if not self.named:
            return None
        most, found = self.prediction["classes"], tuple(sorted(self.names))
        if len(found) > most:
            shown = ", ".join(f"`{short(name)}`" for name in found[: most + 1])
            raise Unfit(
                f"there are {len(found)} labels or more, and `class({most})` has {most} classes: {shown}, …",
                help=f"raise the number in `class({most})`, or correct the labels",
            )
        return found
