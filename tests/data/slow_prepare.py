"""`specc prepare` once more, in plain Python: one event after another, with lists and loops.

Its spec is SPEC (made labels) or LABELLED (read ones). What the real one writes is held against this, row by
row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from specc_runtime.encode.keys import canonical
from specc_runtime.encode.vocabulary import hashed

SPACES = """model m
table items = vocab(100, 4)
table kinds = vocab(100, 4)
space user from request { id: vocab(100, 4), device: vocab(9, 4), hour: ids(24, 4) }
space ad from candidate { item: items, category: kinds, price: number(log1p, default = 0) }
space history[t <= 3] from request { item: items, price: number(log1p, default = 0), gap: number }
space noise[like t] from request { item: items, price: number(log1p, default = 0) }
space visits[session <= 2, step <= 2] from request { item: items, category: kinds }
space shelves[category <= 2, pick <= 2] from request { item: items, price: number(log1p, default = 0) }
space context[near <= 2] from request { item: items }
space buys[b <= 2] from request { item: items }
space unclicked[skip <= 2] from request { item: items, price: number(log1p, default = 0) }
joined = concat(
  user, ad, sum(history, over t), sum(noise, over t), sum(mean(visits, over step), over session),
  sum(mean(shelves, over pick), over category), sum(context, over near), sum(buys, over b),
  sum(unclicked, over skip)
)
"""
SPEC = SPACES + "predict click: binary = joined |> linear(1)\npredict buy: binary = joined |> linear(1)\n"
LABELLED = SPACES + "predict label: binary = joined |> linear(1)\n"
LABELS = {"click": ("pv",), "buy": ("buy",)}  # which behaviours make which label
BITS = (1 << 64) - 1
LEAST = 3  # places of a day that are filled before draws keep to it; the real one is told so
DAY = 86400
NEGATIVES, NOISE, PLACES, REQUESTS = range(4)


@dataclass
class Event:
    """line: its place in the log. n, session: its place among its user's events, and the session it is in."""

    user: str
    item: str
    category: str | None
    behaviour: str
    time: int
    price: float | None
    device: str
    label: int | None
    line: int
    n: int = 0
    session: int = 0


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & BITS
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & BITS
    return x ^ (x >> 31)


def of_key(key: str) -> int:
    return int(hashed(canonical(pa.array([key])))[0])


class Slow:
    """labelled: whether labels are read. settings: those of prepare, by name."""

    def __init__(self, events: list[Event], labelled: bool, **settings: Any) -> None:
        self.labelled, self.s = labelled, {"negatives": 1, "seed": 0, "session_gap": 1800, "history_min": 0,
                                           "session_min": 1, "sampling": "uniform", "positive": None,
                                           "impression": (), "test": "0.3", **settings}  # fmt: skip
        self.events = sorted(events, key=lambda e: (of_key(e.user), e.time, e.line))
        self.by_time = sorted(events, key=lambda e: (e.time, e.line))
        self.pool = self.places()
        self.users: dict[str, list[Event]] = {}
        for event in self.events:
            own = self.users.setdefault(event.user, [])
            event.n = len(own)
            idle = own and event.time - own[-1].time > self.s["session_gap"]
            event.session = (own[-1].session + bool(idle)) if own else 0
            own.append(event)

    def positive(self, event: Event) -> bool:
        if self.labelled:
            return event.label == 1
        return self.s["positive"] is None or event.behaviour in self.s["positive"]

    def before(self, event: Event, **wanted: Any) -> list[Event]:
        """The user's earlier events: of a behaviour, of a label, of the event's session."""
        found = [e for e in self.users[event.user] if e.time < event.time]
        if "behaviour" in wanted:
            found = [e for e in found if e.behaviour == wanted["behaviour"]]
        if wanted.get("label") is not None and self.labelled:
            found = [e for e in found if self.positive(e) == wanted["label"]]
        if wanted.get("session"):
            found = [e for e in found if e.session == event.session]
        return found

    def sampled(self, event: Event, stream: int, number: int) -> str | None:
        before = [place for place in self.pool if place[0] < event.time]
        today = event.time // DAY * DAY
        recent = ([p for p in before if p[0] >= begin] for begin in (today, today - DAY))
        known = next((some for some in recent if len(some) >= LEAST), before)
        taken = {e.item for e in self.users[event.user] if e.session == event.session and self.positive(e)}
        for again in range(50 if known else 0):
            start = self.s["seed"] * 0x9E3779B97F4A7C15 + stream * 0xC2B2AE3D27D4EB4F
            user = mix((of_key(event.user) + start) & BITS)
            bits = mix((mix((user + event.n) & BITS) + number * 50 + again) & BITS)
            item = known[bits % len(known)][2]
            if item not in taken:
                return item
        return None

    def known(self, item: str, time: int, name: str) -> Any:
        if name in self.s["impression"]:
            return None
        told = [getattr(e, name) for e in self.by_time if e.item == item and e.time < time]
        return next((value for value in reversed(told) if value is not None), None)

    def noise(self, event: Event) -> tuple[str, Any]:
        item = self.sampled(event, NOISE, 0)
        return (event.item, event.price) if item is None else (item, self.known(item, event.time, "price"))

    def request(self, event: Event) -> dict[str, Any]:
        history = self.before(event, label=True)[-3:]
        row: dict[str, Any] = {
            "user_id": event.user, "user_device": event.device, "user_hour": event.time // 3600 % 24,
            "history_item": [e.item for e in history], "history_price": [e.price for e in history],
            "history_gap": [event.time - e.time for e in history],
            "noise_item": [self.noise(e)[0] for e in history],
            "noise_price": [self.noise(e)[1] for e in history],
        }  # fmt: skip
        sessions: dict[int, list[Event]] = {}
        for e in self.before(event, label=True):
            sessions.setdefault(e.session, []).append(e)
        visits = [s[-2:] for s in sessions.values() if len(s) >= self.s["session_min"]][-2:]
        row["visits_item"] = [[e.item for e in s] for s in visits]
        row["visits_category"] = [[e.category for e in s] for s in visits]
        shelves: dict[str, list[Event]] = {}
        for e in self.before(event, label=True):
            if e.category is not None:
                shelves[e.category] = [*shelves.pop(e.category, []), e]
        groups = [s[-2:] for s in shelves.values() if len(s) >= self.s["session_min"]][-2:]
        row["shelves_item"] = [[e.item for e in s] for s in groups]
        row["shelves_price"] = [[e.price for e in s] for s in groups]
        row["context_item"] = [e.item for e in self.before(event, session=True)[-2:]]
        row["buys_item"] = [e.item for e in self.before(event, behaviour="buy", label=True)[-2:]]
        if self.labelled:
            unclicked = [(e.item, e.price) for e in self.before(event, label=False)[-2:]]
        else:
            unclicked = [self.noise(e) for e in self.before(event)[-2:]]
        row["unclicked_item"], row["unclicked_price"] = [i for i, _ in unclicked], [p for _, p in unclicked]
        row["example_user"], row["example_time"] = event.user, event.time
        row["example_request"] = (
            mix(
                (mix((mix((of_key(event.user) + REQUESTS * 0xC2B2AE3D27D4EB4F) & BITS) + event.n) & BITS))
                & BITS
            )
            >> 1
        )
        return row

    def candidates(self, event: Event) -> list[dict[str, Any]]:
        """The candidate and label columns: of the event's own item, then of the sampled ones."""
        own = {"ad_item": event.item, "ad_category": event.category, "ad_price": event.price}
        if self.labelled:
            return [{**own, "label": None if event.label is None else float(event.label)}]
        labels = {name: float(event.behaviour in kinds) for name, kinds in LABELS.items()}
        found = [{**own, **labels}]
        for number in range(self.s["negatives"]):
            item = self.sampled(event, NEGATIVES, number)
            if item is not None:
                kind, price = (self.known(item, event.time, name) for name in ("category", "price"))
                found.append(
                    {"ad_item": item, "ad_category": kind, "ad_price": price, "click": 0.0, "buy": 0.0}
                )
        return found

    def places(self) -> list[tuple[int, int, str]]:
        """Time, hash and item of what may be drawn: of each day every item once, or all events."""
        seen, found = set[tuple[int, str]](), []
        for e in self.by_time:
            if self.s["sampling"] != "uniform" or (e.time // DAY, e.item) not in seen:
                found.append((e.time, of_key(e.item), e.item))
            seen.add((e.time // DAY, e.item))
        return sorted(found)

    def parts(self) -> dict[str, list[dict[str, Any]]]:
        """The examples of each part, in order."""
        chosen = [e for e in self.events if (e.label is not None if self.labelled else self.positive(e))]
        chosen = [e for e in chosen if len(self.before(e)) >= self.s["history_min"]]
        chosen.sort(key=lambda e: e.time)
        times = [e.time for e in chosen]
        cut = times[math.ceil((1 - float(self.s["test"])) * (len(times) - 1))]
        found: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
        for events in self.together(chosen):
            request = self.request(events[0])
            found["train" if events[0].time < cut else "test"] += [
                {**request, **c} for event in events for c in self.candidates(event)
            ]
        return found

    def together(self, chosen: list[Event]) -> list[list[Event]]:
        """The events of each request: with labels, those of a user at one time, of one device."""
        if not self.labelled:
            return [[event] for event in chosen]
        found: dict[tuple[str, int, str], list[Event]] = {}
        for event in chosen:
            found.setdefault((event.user, event.time, event.device), []).append(event)
        return list(found.values())
