"""Which examples are trained on, chosen by and tested on: parts of the time, one after another."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from specc.prepare.settings import PrepareError, Settings, moment

Ints = npt.NDArray[np.int64]
EVER = 1 << 62


class Part(NamedTuple):
    """The examples from one second on and before another."""

    name: str
    begin: int
    end: int


def parts_of(times: Ints, counts: Ints, settings: Settings) -> list[Part]:
    """Return the parts. times: every second that has examples, ascending; counts: how many. Raises
    PrepareError if a part has no example."""
    if not len(times):
        of = f" of {', '.join(settings.positive)}" if settings.positive else ""
        least = settings.history_min
        before = f" with {least} events before it" if least else ""
        raise PrepareError(f"the log has no positive event{of}{before} to make an example of")
    test = _cut(settings.test, times, counts, int(times[-1]), settings)
    valid = test
    if settings.valid is not None:
        earlier = times < test
        valid = _cut(settings.valid, times[earlier], counts[earlier], test - 1, settings)
    found = [Part("train", -EVER, valid)]
    found += [Part("valid", valid, test)] if settings.valid is not None else []
    found.append(Part("test", test, EVER))
    for part in found:
        if not ((times >= part.begin) & (times < part.end)).any():
            raise PrepareError(
                f"no positive event is left for the {part.name} examples; set --test or --valid, such as "
                "--test 0.2"
            )
    return found


def _cut(text: str, times: Ints, counts: Ints, last: int, settings: Settings) -> int:
    """Return the first moment of the part that `last-day`, a share or a time asks for."""
    if text == "last-day":
        offset = round(settings.utc_offset * 3600)
        return (last + offset) // 86400 * 86400 - offset
    try:
        share = float(text)
    except ValueError:
        return moment(text, settings.utc_offset)
    if not 0 < share < 1:
        return moment(text, settings.utc_offset)
    if not len(times):
        return last
    whole = np.cumsum(counts)
    place = math.ceil((1 - share) * (int(whole[-1]) - 1))
    return int(times[np.searchsorted(whole, place, side="right")])
