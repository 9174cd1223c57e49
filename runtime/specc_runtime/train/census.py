"""What is counted in the training data before training: how often table rows occur, which items are popular.

Promises: one pass. `Baselines` are what a model must beat: an item's popularity, and the labels' mean. They
are kept beside the weights, so that evaluation needs no training data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from specc_runtime.artefact import write_tensors
from specc_runtime.batch import Bag, Batch, labelled
from specc_runtime.catalogue import counted
from specc_runtime.data import Stream
from specc_runtime.model import Model
from specc_runtime.record import ArtefactError, Held, consistent

_LABEL = "label:"  # before a prediction, whose labels are counted
BASELINES = "baselines.safetensors"


@dataclass(frozen=True, eq=False)
class Baselines:
    """item: the path of the candidate's field that names what is scored, or None if there is none.

    means: by prediction the mean label (not of class predictions). positives: by prediction, how many
    labels above 0.5 each row of the item's table has, int64 [rows]. unknown_first: row 0 of that table is
    the unknown item's. notes: what there is to tell of the training data; not kept.
    """

    item: str | None
    means: Mapping[str, float] = field(default_factory=dict)
    positives: Mapping[str, Tensor] = field(default_factory=dict)
    unknown_first: bool = False
    notes: tuple[str, ...] = ()

    def popularity(self, prediction: str, batch: Batch) -> Tensor | None:
        """A score for each example: how popular its item is."""
        counts = self.positives.get(prediction)
        if self.item is None or counts is None:
            return None
        ids = batch.column(self.item)
        known = torch.cat([counts, counts.new_zeros(1)])
        # An item that the model does not know is as popular as one that nobody took.
        ids = torch.where((ids == 0) & self.unknown_first | (ids >= len(counts)), len(counts), ids)
        return torch.log1p(known[ids].double())

    def write(self, directory: Path) -> None:
        """Write the baselines into a folder that is being filled."""
        about = {"item": self.item, "means": dict(self.means), "unknown_first": self.unknown_first}
        write_tensors(self.positives, directory / BASELINES, about=json.dumps(about))

    @staticmethod
    def load(directory: Path) -> Baselines | None:
        """Return the baselines of a trained model's folder, or None if it was trained without."""
        return consistent(directory, Baselines.among)

    @staticmethod
    def among(files: Held) -> Baselines | None:
        """Return the baselines among a folder's files, or None."""
        if not files.has(BASELINES):
            return None
        path = files.path(BASELINES)
        try:
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                counts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return Baselines(about["item"], about["means"], counts, about["unknown_first"])
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{path} cannot be read: {error}") from None


def count(model: Model, stream: Stream) -> Baselines:
    """Count the training data, and tell the model's tables how often their rows occur, where their
    penalty asks for it (`l2 = by_frequency(…)`); and how often a field's rows occur, what a corrected choice
    asks for."""
    manifest = model.manifest
    item = item_of(manifest)
    wanted = {w["path"]: w["shape"][0] for w in manifest["weights"] if w["l2_by_frequency"]}
    readers = (*manifest["fields"], *manifest.get("crosses", ()))
    tables = {f["path"]: f["table"] for f in readers if f["table"] in wanted}
    rows = {path: torch.zeros(n, dtype=torch.int64, device="cpu") for path, n in wanted.items()}
    kept = {w["path"]: w["counts"] for w in manifest["weights"] if w.get("counts")}
    shares = {path: torch.zeros(model.state_dict()[path].shape, device="cpu") for path in kept}
    positives: dict[str, Tensor] = {}
    sums: dict[str, float] = {}
    examples: dict[str, int] = {}
    silent = {p["name"]: 0 for p in manifest["predictions"] if p.get("among") == "request"}
    for batch in stream:
        for name in silent:
            silent[name] += unasked(batch, name)
        for path, table in tables.items():
            values = batch.fields[path]
            ids = values.values if isinstance(values, Bag) else values
            rows[table] += torch.bincount(ids, minlength=len(rows[table]))
        for path, field_ in kept.items():
            ids = batch.labels[field_[len(_LABEL) :]] if field_.startswith(_LABEL) else batch.column(field_)
            ids = ids[ids >= 0]
            shares[path] += torch.bincount(ids, minlength=len(shares[path]))
        for prediction in manifest["predictions"]:
            name, labels = prediction["name"], batch.labels[prediction["name"]]
            if prediction["kind"] == "class":
                continue
            known = labels[labelled(labels)]
            examples[name] = examples.get(name, 0) + len(known)
            sums[name] = sums.get(name, 0.0) + float(known.double().sum())
            if item is not None:
                taken = batch.column(item["path"])[labels > 0.5]
                found = torch.bincount(taken, minlength=len(positives.get(name, taken[:0])))
                found[: len(positives.get(name, taken[:0]))] += positives.get(name, taken[:0])
                positives[name] = found
    for entry in manifest["predictions"]:
        if entry.get("rows"):
            path = entry["rows"]["counts"]
            shares[path] = counted(stream.encoders, entry, shares[path])
    for path, found in shares.items():
        model.state_dict()[path].copy_(found)
    for path, counts in rows.items():
        model.set_row_counts(path, counts)
    return Baselines(
        None if item is None else item["path"],
        {name: total / max(examples[name], 1) for name, total in sums.items()},
        positives,
        item is not None and item["encoding"] == "vocab",
        tuple(
            f"{name}: in {n:,} of {stream.examples:,} requests no candidate was chosen: they ask nothing"
            for name, n in silent.items()
            if n
        ),
    )


def counts_of(model: Model) -> dict[str, Tensor]:
    """By table whose penalty goes by it, how often its rows occur: what `count` has told the model, else room
    for it."""
    found = {}
    for entry in model.manifest["weights"]:
        if entry["l2_by_frequency"]:
            path, table = entry["path"], model.part(entry["path"].removesuffix(".weight"))
            if table.counts is None:
                model.set_row_counts(path, torch.zeros(entry["shape"][0], dtype=torch.int64, device="cpu"))
            found[path] = table.counts
    return found


def unasked(batch: Batch, prediction: str) -> int:
    """How many of a batch's requests have no candidate that was chosen."""
    assert batch.candidates is not None
    chosen = torch.nan_to_num(batch.labels[prediction]) > 0
    return sum(not bool(own.any()) for own in chosen.split(batch.candidates.tolist()))


def item_of(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the candidate's field that identifies the item: the one called `item`, else that with the
    largest table.
    """
    shapes = {w["path"]: w["shape"][0] for w in manifest["weights"]}
    found = [
        f
        for f in manifest["fields"]
        if f["role"] == "candidate" and not f["axes"] and f["encoding"] in ("ids", "vocab", "hash")
    ]
    return max(found, key=lambda f: ("item" in f["name"], shapes[f["table"]]), default=None)
