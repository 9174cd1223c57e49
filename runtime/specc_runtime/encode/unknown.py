"""How much of what a batch holds is unknown to a model's vocabularies.

Promises: counts add up over batches, whatever process they come from: they are of batches, not of encoders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from specc_runtime.batch import Bag, Batch
from specc_runtime.encode.labels import UNKNOWN


@dataclass
class Unknown:
    """By table (or field with a table of its own) that has a vocabulary, how many values were seen, and how
    many of them are row 0: keys that the vocabulary does not have, or nulls. Labels that are keys of a table
    count by themselves."""

    manifest: Mapping[str, Any]
    values: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Count the values of a batch."""
        for entry in self.manifest["fields"]:
            name, held = entry["vocabulary"], batch.fields.get(entry["path"])
            if name is None or held is None:
                continue
            ids = held.values if isinstance(held, Bag) else held
            self.values[name] = self.values.get(name, 0) + ids.numel()
            self.unknown[name] = self.unknown.get(name, 0) + int((ids == 0).sum())
        for entry in self.manifest["predictions"]:
            labels = batch.labels.get(entry["name"])
            if (entry.get("rows") or {}).get("vocabulary") is None or labels is None:
                continue
            name = f"labels of {entry['name']}"
            self.values[name] = self.values.get(name, 0) + int((labels != -1).sum())
            self.unknown[name] = self.unknown.get(name, 0) + int((labels == UNKNOWN).sum())

    def merge(self, other: Unknown) -> None:
        """Add what another has counted."""
        for mine, theirs in ((self.values, other.values), (self.unknown, other.unknown)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def join(self, summed: Callable[[list[int]], list[int]]) -> None:
        """Replace the counts by sums over processes. summed: gives those of a list of numbers."""
        names = list(self.values)
        found = summed([*(self.values[n] for n in names), *(self.unknown[n] for n in names)])
        self.values = dict(zip(names, found[: len(names)], strict=True))
        self.unknown = dict(zip(names, found[len(names) :], strict=True))

    @property
    def shares(self) -> dict[str, float]:
        """By table, the share of its values that are unknown, 0 to 1; without those that were not read."""
        return {name: self.unknown[name] / count for name, count in self.values.items() if count}
