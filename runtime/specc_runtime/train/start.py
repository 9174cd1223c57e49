"""A training that begins with what a trained model has learnt.

Promises: a weight of the same path and shape is the trained one. A table with a vocabulary goes by its
keys: a key that both know has its row, one that is new a new row, and rows of keys that are gone are dropped.
A table whose rows are numbered (`ids`) keeps the rows that it still has. Scales stay those that the weights
were learnt with, so that a model of the same spec and the same keys predicts what the trained one does. What
could not be taken over is said, weight by weight. No code of the trained model is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from specc_runtime.artefact import is_trained
from specc_runtime.carry import carried
from specc_runtime.encode import Encoders
from specc_runtime.encode.pretrained import elsewhere, vocabulary_of
from specc_runtime.encode.store import encoders_of
from specc_runtime.model import Model
from specc_runtime.record import MANIFEST, WEIGHTS, ArtefactError, Held, consistent


@dataclass(frozen=True, eq=False)
class Start:
    """A trained model, as what another one starts from."""

    directory: Path
    manifest: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    encoders: Encoders

    @staticmethod
    def of(directory: Path) -> Start:
        """Raises ArtefactError."""

        def read(files: Held) -> Start:
            if not is_trained(files):
                raise ArtefactError(f"{directory} is not a trained model: there is nothing to start from")
            if files.record is not None:
                files.check()
            try:
                manifest = json.loads(files.text(MANIFEST))
                weights = load_file(files.path(WEIGHTS))
            except (ValueError, OSError, SafetensorError) as error:
                if isinstance(error, ArtefactError):
                    raise
                raise ArtefactError(f"{directory} cannot be read: {error}") from None
            return Start(directory, manifest, weights, encoders_of(files, manifest))

        return consistent(directory, read)

    def settled(self, learned: Encoders) -> Encoders:
        """What was learned from the data, with the scales, and the classes in the order, that the trained
        weights go by. Raises ArtefactError where there are more classes than the prediction has."""
        then, now = ({f["path"]: f for f in m["fields"]} for m in (self.manifest, learned.manifest))
        scales = {
            path: self.encoders.scales[path]
            for path in learned.scales
            if path in self.encoders.scales
            and then[path]["options"]["scale"] == now[path]["options"]["scale"]
        }
        room = {p["name"]: p["classes"] for p in learned.manifest["predictions"]}
        classes = dict(learned.classes)
        for name, names in learned.classes.items():
            known = self.encoders.classes.get(name, ())
            classes[name] = (*known, *(label for label in names if label not in known))
            if len(classes[name]) > room[name]:
                raise ArtefactError(
                    f"prediction {name} has {room[name]} classes, and {self.directory} and the data together "
                    f"have {len(classes[name])}: {', '.join(classes[name])}; train without --start-from"
                )
        return replace(learned, scales={**learned.scales, **scales}, classes=classes)

    def give(self, model: Model, encoders: Encoders) -> list[str]:
        """Give a model what was learnt. Returns what was and what was not taken over, a sentence each."""
        weights = {**model.state_dict(keep_vars=True), **elsewhere(model)}
        entries = {entry["path"]: entry for entry in model.manifest["weights"]}
        whole, told = 0, list[str]()
        for path, weight in weights.items():
            if path not in self.weights:
                told.append(f"{path} is new, and begins anew")
                continue
            fits, said = self._into(model, path, weight, entries.get(path, {}), encoders)
            whole += fits
            told += [said] if said else []
        gone = sorted(set(self.weights) - set(weights))
        if gone:
            told.append(
                f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} not in this model, and dropped"
            )
        first = f"started from {self.directory}: {whole} of {len(weights)} weights as they were"
        return [first, *told]

    def _into(
        self, model: Model, path: str, weight: Tensor, entry: Mapping[str, Any], encoders: Encoders
    ) -> tuple[bool, str | None]:
        """Give one weight its values. Whether they are all of the trained one's, and what is to be said."""
        given = self.weights[path]
        found = carried(path, self.manifest, encoders.manifest, list(given.shape), list(weight.shape))
        match found.how:
            case "by key":
                return self._by_key(model, path, entry, encoders)
            case "by number":
                rows = min(len(weight), len(given))
                model.put(path, torch.arange(rows), given[:rows])
                return False, f"{path}: {rows} rows as they were; it had {len(given)}, and has {len(weight)}"
            case "whole":
                model.put(path, None, given)
                return True, None
            case "anew":
                return False, f"{path} {found.why}"

    def _by_key(
        self, model: Model, path: str, entry: Mapping[str, Any], encoders: Encoders
    ) -> tuple[bool, str | None]:
        given = self.weights[path]
        theirs = next(w for w in self.manifest["weights"] if w["path"] == path)
        old, new = (
            self.encoders.vocabularies[vocabulary_of(theirs)],
            encoders.vocabularies[vocabulary_of(entry)],
        )
        rows = new.rows(old.keys)
        kept = np.flatnonzero(rows > 0)
        # Row 0 is for what neither knows.
        to = torch.from_numpy(np.concatenate([[0], rows[kept]]))
        model.put(path, to, given[torch.from_numpy(np.concatenate([[0], kept + 1]))])
        fresh, gone = len(new.keys) - len(kept), len(old.keys) - len(kept)
        return not fresh and not gone, f"{path}: {len(kept)} rows by key, {fresh} new keys, {gone} keys gone"
