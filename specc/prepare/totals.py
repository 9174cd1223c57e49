"""What a log says in a few numbers; those of its parts add up to those of the whole.

Promises: nothing here depends on the order of the events, nor on how they are divided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.events import BEHAVIOUR
from specc.prepare.facts import DAY
from specc.prepare.settings import PrepareError, Settings, moment

Ints = npt.NDArray[np.int64]


@dataclass
class Totals:
    """since, until: the first and last second. days, behaviours: events by each. left_out: events that lie
    beyond the bounds, by which bound. ranges, absent: by column of the rows of events, the least and the
    greatest number, and how many events have none."""

    events: int = 0
    since: int = 1 << 62
    until: int = -(1 << 62)
    days: Counter[int] = field(default_factory=Counter)
    behaviours: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    absent: Counter[str] = field(default_factory=Counter)

    def within(self, times: Ints, settings: Settings) -> npt.NDArray[np.bool_]:
        """Return which events lie within the bounds, and count the others."""
        kept = np.ones(len(times), dtype=bool)
        for text, word in ((settings.begin, "before"), (settings.end, "from")):
            if text is not None:
                at = moment(text, settings.utc_offset)
                out = (times < at if word == "before" else times >= at) & kept
                self.left_out[f"{word} {text}"] += int(out.sum())
                kept &= ~out
        return kept

    def add(self, times: Ints, columns: Mapping[str, pa.Array], settings: Settings) -> None:
        """Count events within the bounds. columns: by name in the rows of events, `BEHAVIOUR` among them."""
        self.events += len(times)
        self.since, self.until = min(self.since, int(times.min())), max(self.until, int(times.max()))
        days, counts = np.unique((times + offset_of(settings)) // DAY, return_counts=True)
        self.days.update(dict(zip(days.tolist(), counts.tolist(), strict=True)))
        for name, values in columns.items():
            if name == BEHAVIOUR:
                for pair in values.drop_null().value_counts().to_pylist():
                    self.behaviours[str(pair["values"])] += pair["counts"]
                continue
            self.absent[name] += values.null_count
            if pa.types.is_floating(values.type):
                numbers = values.to_numpy(zero_copy_only=False)
                there = numbers[~np.isnan(numbers)]
                if len(there):
                    self._widen(name, float(there.min()), float(there.max()))

    def _widen(self, name: str, least: float, most: float) -> None:
        before = self.ranges.get(name, (least, most))
        self.ranges[name] = min(least, before[0]), max(most, before[1])

    def merge(self, other: Totals) -> None:
        """Add what another part of the log says."""
        self.events += other.events
        self.since, self.until = min(self.since, other.since), max(self.until, other.until)
        for mine, its in (
            (self.days, other.days),
            (self.behaviours, other.behaviours),
            (self.left_out, other.left_out),
            (self.absent, other.absent),
        ):
            mine.update(its)  # type: ignore[arg-type]
        for name, (least, most) in other.ranges.items():
            self._widen(name, least, most)

    @property
    def kinds(self) -> list[str]:
        """The behaviours, the most frequent first; of equally frequent ones by their names."""
        return sorted(self.behaviours, key=lambda name: (-self.behaviours[name], name))

    def checked(self) -> Totals:
        """Return the same. Raises PrepareError where there is no event."""
        if self.events:
            return self
        if any(self.left_out.values()):
            raise PrepareError("no event lies within the bounds --from and --to")
        raise PrepareError("the log has no event that could be read")

    def as_data(self) -> dict[str, Any]:
        """Return the same for JSON, which has no integers for names."""
        return {**vars(self), "days": sorted(self.days.items())}

    @staticmethod
    def of_data(data: Mapping[str, Any]) -> Totals:
        found = Totals(**{**data, "days": Counter(dict(data["days"]))})
        found.behaviours, found.left_out = Counter(data["behaviours"]), Counter(data["left_out"])
        found.absent = Counter(data["absent"])
        found.ranges = {name: (least, most) for name, (least, most) in data["ranges"].items()}
        return found


def offset_of(settings: Settings) -> int:
    """Return the seconds from UTC to where days begin."""
    return round(settings.utc_offset * 3600)


def odd_events(totals: Totals) -> list[str]:
    """Return notes of events that were left out, and of those that look as if they should be."""
    found = [f"{count:,} events {bound} are left out" for bound, count in totals.left_out.items() if count]
    return found + thin_days(totals.days)


def thin_days(days: Mapping[int, int]) -> list[str]:
    """Return a warning of events on days, before or after the others, that hardly have any."""
    usual = float(np.median(sorted(days.values(), reverse=True)[: max(len(days) // 2, 1)]))
    busy = [day for day, n in sorted(days.items()) if n >= usual * 0.01]
    notes = []
    for outside, flag, bound in (
        ([n for day, n in days.items() if day < busy[0]], "--from", busy[0]),
        ([n for day, n in days.items() if day > busy[-1]], "--to", busy[-1] + 1),
    ):
        if outside:
            date, side = np.datetime64(int(bound), "D"), "before" if flag == "--from" else "from"
            notes.append(
                f"warning: {sum(outside):,} events lie {side} {date}, on days that hardly have any; "
                f"leave them out with {flag} {date}"
            )
    return notes
