"""Where labels come from: read from the log, made of what was taken, or the item itself.

Promises: a column of a label's name is never ignored; labels of a `real` prediction are read; no two
predictions write one column with different things.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from specc.prepare.names import found_in
from specc.prepare.settings import LabelSource, Settings


@dataclass(frozen=True)
class Labels:
    """sources: by prediction. negatives: sampled ones an example."""

    sources: Mapping[str, LabelSource]
    negatives: int

    @property
    def read(self) -> bool:
        """Whether the log says what is positive."""
        return any(source.how == "read" for source in self.sources.values())


def map_labels(
    manifest: Mapping[str, Any], columns: Iterable[str], settings: Settings
) -> tuple[Labels, list[str]]:
    """Return the source of every prediction's labels, and what is wrong. columns: of the log, as they are
    called.

    Of predictions that are made of behaviours, which ones is not settled yet.
    """
    names = list(columns)
    faults: list[str] = []
    sources: dict[str, LabelSource] = {}
    for prediction in manifest["predictions"]:
        name = prediction["name"]
        said = settings.labels.get(name, LabelSource())
        column = found_in(said.column or prediction["column"], names)
        how = said.how or ("read" if said.column or column else _without(prediction))
        if how == "read" and column is None:
            wanted = said.column or prediction["column"]
            faults.append(
                f"`{name}`: the log has no column `{wanted}`, and labels of a `{prediction['kind']}` "
                "prediction are "
                f"read; say which of {', '.join(names)} has them: --label {name}=COLUMN"
            )
        if how == "read" and said.behaviours:
            faults.append(
                f"`{name}`: its labels are read from column `{column}`, and no behaviours make them; to "
                "make them "
                f"and leave the column, --label {name}=made"
            )
        if how == "item" and prediction["kind"] != "class":
            faults.append(
                f"`{name}`: an item is the label of a `class` prediction, and this one is "
                f"`{prediction['kind']}`"
            )
        update: dict[str, Any] = {"how": how, "column": column if how == "read" else None}
        if name not in settings.labels and how == "made" and prediction["kind"] == "real":
            update["negative"] = -1.0
        sources[name] = said.model_copy(update=update)
    labels = Labels(sources, 0)
    faults += _written(manifest, sources)
    return Labels(sources, _negatives(manifest, labels, settings, faults)), faults


def _without(prediction: Mapping[str, Any]) -> str:
    """Return how labels come about where the log has no column of their name."""
    if prediction["kind"] == "class" and prediction.get("table"):
        return "item"
    return "made" if prediction["kind"] in ("binary", "choice") else "read"


def _written(manifest: Mapping[str, Any], sources: Mapping[str, LabelSource]) -> list[str]:
    """Return predictions and fields that would write one column with different things."""
    faults = []
    owner: dict[str, str] = {}
    for prediction in manifest["predictions"]:
        name, column = prediction["name"], prediction["column"]
        other = owner.setdefault(column, name)
        if other != name and sources[other] != sources[name]:
            faults.append(
                f"`{other}` and `{name}` have their labels in one column, `{column}`, and they are not the "
                "same; "
                f'give one of them a column of its own in the spec (`from "…"`)'
            )
    faults += [
        f"`{field['path']}` is read from the column `{field['column']}`, which has the labels of "
        f"`{owner[field['column']]}`: the model would be given its label"
        for field in manifest["fields"]
        if field["column"] in owner
    ]
    return faults


def _negatives(manifest: Mapping[str, Any], labels: Labels, settings: Settings, faults: list[str]) -> int:
    """Return how many negatives an example has; a fault where the number said makes no sense."""
    candidates = any(space["role"] == "candidate" for space in manifest["spaces"])
    made = [name for name, source in labels.sources.items() if source.how == "made"]
    said = settings.negatives
    if labels.read:
        if said:
            column = next(s.column for s in labels.sources.values() if s.how == "read")
            faults.append(
                f"labels are read from column `{column}`, so that nothing is sampled, and {said} negatives "
                "an example "
                "were asked for; leave that out (--negatives 0)"
            )
        return 0
    if not candidates:
        if said:
            faults.append(
                "the spec has no space of candidates, so that there is nothing to sample negatives of; "
                "--negatives 0"
            )
        faults += [
            f"`{name}` would be 1 in every example: the log has no column of its name to read, and "
            "there are no "
            f"candidates to sample; say which column has the labels: --label {name}=COLUMN"
            for name in made
        ]
        return 0
    return 1 if said is None and made else said or 0


def constant(labels: Labels, kinds: Mapping[str, str]) -> list[str]:
    """Return what is wrong with predictions whose label is the same in every example. kinds: by name, of
    predictions, "request" of a choice among the candidates of a request. Called when it is known which
    behaviours make which label."""
    if labels.negatives:
        return []
    return [
        f"`{name}` would be {source.positive:g} in every example: without negatives nothing tells what was "
        "taken "
        "from what was not; sample some (--negatives 1), or say which column has the labels (--label "
        f"{name}=COLUMN)"
        for name, source in labels.sources.items()
        if source.how == "made" and source.behaviours is None and kinds[name] != "choice"
    ]


def positive(
    prediction: Mapping[str, Any], values: npt.NDArray[Any], code: int | None = None
) -> npt.NDArray[np.bool_]:
    """Return which of some read labels are positive; a null is not.

    code: of the text that the condition compares with, where values are codes of keys.
    """
    condition = prediction.get("condition")
    if condition is None:
        return np.asarray(values > 0)
    if isinstance(condition["value"], str):
        same = np.asarray(values == (-2 if code is None else code))
        return same if condition["op"] == "==" else ~same & (values >= 0)
    compare = {"==": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal,
               ">": np.greater, ">=": np.greater_equal}[condition["op"]]  # fmt: skip
    return np.asarray(compare(values, float(condition["value"])) & ~np.isnan(values))


def first_line(labels: Mapping[str, Mapping[str, Any]], negatives: int) -> str:
    """Return the first line of what the command prints: whether labels are read or made."""
    read = {name: s["column"] for name, s in labels.items() if s["how"] == "read"}
    made = [name for name, s in labels.items() if s["how"] == "made"]
    item = [name for name, s in labels.items() if s["how"] == "item"]
    parts = []
    if read:
        columns = dict.fromkeys(f"`{c}`" for c in read.values())
        kind = "column" if len(columns) == 1 else "columns"
        parts.append(f"labels are read from the log's {kind} {', '.join(columns)} ({', '.join(read)})")
    if made:
        sampled = (
            f"{negatives} sampled item{'s' * (negatives != 1)} for each"
            if negatives
            else "nothing is sampled"
        )
        what = "by what was done" if read else f"events are positive, with {sampled}"
        parts.append(
            f"labels are made ({', '.join(made)}): {what}" if not read else f"{', '.join(made)} made {what}"
        )
    if item:
        parts.append(f"the item is the class ({', '.join(item)})")
    return "; ".join(parts) or "the spec has no prediction, and examples no label"
