"""What `specc prepare` writes is, row by row, what a few loops in plain Python say."""

from __future__ import annotations

import csv
import hashlib
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from specc.prepare import PrepareError, Settings, prepare
from tests.data.slow_prepare import LABELLED, LEAST, SPEC, Event, Slow
from tests.data.specs import manifest

HOUR = 3600
MANIFESTS = {False: manifest(SPEC), True: manifest(LABELLED)}


@st.composite
def logs(draw: st.DrawFn) -> list[Event]:
    """Few users, items and times, so that everything happens at once."""
    count = draw(st.integers(12, 40))
    spread = draw(st.sampled_from([2, 12, 60, 200]))
    return [
        Event(
            user=f"u{draw(st.integers(0, 2))}",
            item=f"i{draw(st.integers(0, 6))}",
            category=draw(st.sampled_from(["x", "y", "z", None])),
            behaviour=draw(st.sampled_from(["pv", "buy"])),
            time=1_600_000_000 + draw(st.integers(0, spread)) * HOUR // 2,
            price=draw(st.sampled_from([0.5, 1.25, 2.0, None])),
            device=draw(st.sampled_from(["ios", "web"])),
            label=draw(st.sampled_from([0, 1, 1, None])),
            line=line,
        )
        for line in range(count)
    ]


def write(path: Path, events: list[Event], labelled: bool) -> Path:
    names = ["user", "item", "category", "behaviour", "time", "price", "device"] + ["label"] * labelled
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([["" if getattr(e, n) is None else getattr(e, n) for n in names] for e in events])
    return path


CHOICES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 3),
        "sampling": st.sampled_from(["uniform", "popularity"]),
        "session_gap": st.sampled_from([60, 2 * HOUR]),
        "session_min": st.integers(1, 2),
        "history_min": st.integers(0, 2),
        "test": st.sampled_from(["0.3", "0.6"]),
    }
)


@settings(max_examples=25, deadline=None)
@given(logs(), st.booleans(), CHOICES, st.integers(1, 3), st.booleans(), st.sampled_from([None, ("buy",)]))
def test_rows_are_those_of_the_loops(
    events: list[Event],
    labelled: bool,
    chosen: dict[str, Any],
    negatives: int,
    shown: bool,
    positive: tuple[str, ...] | None,
) -> None:
    kinds = {e.behaviour for e in events}
    assume(labelled or (kinds == {"pv", "buy"} and len({e.item for e in events}) > 1))
    made = {} if labelled else {"negatives": negatives, "positive": positive}
    if shown and not labelled:
        made["impression"] = ("price",)
    # Sequences and labels called after a behaviour take it where the log has it.
    assume("buy" in kinds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = write(folder / "log.csv", events, labelled)
        try:
            with mock.patch("specc.prepare.facts.LEAST", LEAST):
                done = prepare(
                    MANIFESTS[labelled], log, folder / "data", Settings(**chosen, **made), requests=True
                )
        except PrepareError as error:
            if "no positive event is left" in str(error) or "no positive event to make" in str(error):
                return
            raise
        wanted = Slow(events, labelled, **chosen, **made).parts()
        for part in done.files:
            rows = pq.read_table(part.path).to_pylist()
            assert rows == wanted[part.name]
        _requests_hold_the_test_examples(folder / "data", wanted["test"], labelled)


def _requests_hold_the_test_examples(folder: Path, wanted: list[dict[str, Any]], labelled: bool) -> None:
    own = ("ad_item", "ad_category", "ad_price", *(["label"] if labelled else ["click", "buy"]))
    found = [
        {name: value[place] if name in own else value for name, value in row.items()}
        for row in pq.read_table(folder / "requests.parquet").to_pylist()
        for place in range(len(row["ad_item"]))
    ]
    order = [sorted(map(repr, ({k: r[k] for k in sorted(r)} for r in rows))) for rows in (found, wanted)]
    assert order[0] == order[1]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_memory_changes_nothing(tmp_path: Path, labelled: bool, sampling: str) -> None:
    import random

    draw = random.Random(1)
    events = []
    for line in range(20_000):
        user, item, kind = f"u{draw.randrange(300)}", f"i{draw.randrange(90)}", draw.choice("xyz")
        time, price = 1_600_000_000 + draw.randrange(400) * HOUR, draw.choice([0.5, None, 2.0])
        behaviour, label = draw.choice(["pv", "buy"]), draw.randrange(2)
        events.append(Event(user, item, kind, behaviour, time, price, "web", label, line))
    log = write(tmp_path / "log.csv", events, labelled)
    hashes = set()
    for memory in ("1MB", "3MB", "2GB"):
        done = prepare(
            MANIFESTS[labelled],
            log,
            tmp_path / memory,
            Settings(sampling=sampling, test="0.2"),
            True,
            memory=memory,
        )
        names = [*(f.path.name for f in done.files), "requests.parquet"]
        hashes.add(tuple(hashlib.sha256((tmp_path / memory / n).read_bytes()).hexdigest() for n in names))
    assert len(hashes) == 1


def test_new_items_of_a_test_are_no_tell(tmp_path: Path) -> None:
    """Where every day has items of its own, a test's negatives are as new to the model as its positives."""
    events = [
        Event(
            f"u{n % 7}",
            f"d{day}-{n % 40}",
            "x",
            "pv",
            1_600_000_000 + day * 86400 + n * 60,
            1.0,
            "web",
            None,
            n,
        )
        for day in range(3)
        for n in range(120)
    ]
    log = write(tmp_path / "log.csv", events, False)
    manifests = manifest(SPEC.partition("predict buy")[0])
    done = prepare(manifests, log, tmp_path / "data", Settings(test="last-day"))
    rows = pq.read_table(done.files[-1].path).to_pylist()
    negatives = [row["ad_item"] for row in rows if row["click"] == 0]
    assert len(negatives) > 80
    assert sum(item.startswith("d2") for item in negatives) > 0.8 * len(negatives)
