"""Which events a sequence takes, by its name.

`unclicked`, `noise`, `negatives` take sampled items (of a log with labels, and on an axis of their own, the
events whose label is not positive); `context`, `session`, `current` those of the session so far; `clicked`
the positive ones; `views`, `carts`, `favs`, `buys` those behaviours, and `keeps` carts and favourites; any
other name all of them, and of a log with labels those with a positive one.

Of two axes the outer one is sessions if it is called so (`session`, `visit`), or groups by the column or
attribute that it is called after; nothing else is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from specc.prepare.mapping import Columns, close
from specc.prepare.names import found_in, is_known
from specc.prepare.settings import Settings, SpaceSource

# Kinds of behaviour by the names that logs and spaces give them.
KINDS: Mapping[str, tuple[str, ...]] = {
    "view": ("pv", "view", "views", "viewed", "click", "clicks", "clicked", "browse", "browsed"),
    "cart": ("cart", "carts", "carted", "addtocart", "add_to_cart"),
    "fav": ("fav", "favs", "favourite", "favourites", "favorite", "favorites", "collect", "liked", "likes"),
    "buy": ("buy", "buys", "bought", "purchase", "purchases", "purchased", "order", "orders", "transaction"),
}
_NOISE = {"unclicked", "noise", "noises", "negative", "negatives", "sampled", "skipped", "unseen"}
_SESSION = {"context", "contextual", "session", "current", "page"}
_POSITIVE = {"clicked", "clicks", "positives", "liked"}
_KEPT = {"keep", "keeps", "kept", "saved"}
_SESSIONS = {"session", "sessions", "visit", "visits", "sess"}
IDLE = "idle"


def map_axes(
    manifest: Mapping[str, Any], columns: Columns, settings: Settings
) -> tuple[dict[str, str | None], list[str]]:
    """Return by space with axes what the outer of two axes is: "idle", a column's name, or None for one
    axis."""
    faults: list[str] = []
    found: dict[str, str | None] = {}
    spaces = [s for s in manifest["spaces"] if s["axes"]]
    known = {s["name"] for s in spaces}
    faults += [f"the spec has no sequence `{n}`{close(n, known)}" for n in settings.spaces if n not in known]
    for space in spaces:
        name, axes = space["name"], space["axes"]
        said = settings.spaces.get(name, SpaceSource()).by
        if space["role"] == "candidate":
            faults.append(f"`{name}` is a sequence of a candidate, and a log has none")
        if len(axes) > 2:
            faults.append(f"`{name}` has {len(axes)} axes, and events make at most two")
        outer = axes[0].rpartition(".")[2]
        if len(axes) == 1:
            if said is not None:
                faults.append(
                    f"`{name}` has one axis, and only the outer of two is made of sessions or groups"
                )
            found[name] = None
        elif said == IDLE or (said is None and outer in _SESSIONS and outer not in columns.log):
            found[name] = IDLE
        else:
            column = _grouping(said or outer, columns)
            if column is None:
                what = (
                    f"`{said}` is no column of the log"
                    if said
                    else f"it is not clear what its axis `{outer}` is"
                )
                faults.append(
                    f"`{name}`: {what}{close(said, columns.names) if said else ''}; make it sessions, "
                    "which end after "
                    f"idle time (--axis {name}=idle), or groups by one of {', '.join(_groupings(columns))} "
                    f"(--axis {name}={next(iter(_groupings(columns)), 'COLUMN')})"
                )
            found[name] = column
    return found, faults


def _groupings(columns: Columns) -> list[str]:
    return [c for c in dict.fromkeys([*columns.log, *columns.items]) if c not in ("user", "item", "time")]


def _grouping(name: str, columns: Columns) -> str | None:
    meant = next((m for m in ("category", "behaviour") if is_known(name, m) and columns.has(m)), None)
    return meant or found_in(name, _groupings(columns))


def map_sequences(
    manifest: Mapping[str, Any],
    axes: Mapping[str, str | None],
    kinds: Sequence[str],
    labelled: bool,
    settings: Settings,
) -> dict[str, SpaceSource]:
    """Return the source of every sequence. kinds: the behaviours of the log. labelled: whether some of its
    labels are read as binary ones."""
    aligned = _aligned(manifest)
    found = {}
    for space in manifest["spaces"]:
        if space["axes"]:
            name = space["name"]
            said = settings.spaces.get(name)
            source = said or _sequence(name, kinds, labelled, name in aligned, settings)
            found[name] = source.model_copy(update={"by": axes[name]})
    return found


def _aligned(manifest: Mapping[str, Any]) -> set[str]:
    """Return the sequences on an axis that another one owns (`like`)."""
    return {
        s["name"] for s in manifest["spaces"] if s["axes"] and s["axes"][-1].partition(".")[0] != s["name"]
    }


def _sequence(
    name: str, kinds: Sequence[str], labelled: bool, aligned: bool, settings: Settings
) -> SpaceSource:
    words = set(re.split(r"[_\d]+", name.lower()))
    least = settings.session_min
    if words & _NOISE:
        if labelled and not aligned:
            return SpaceSource(label="zero", sessions=least)
        return SpaceSource(events="noise", sessions=least)
    if words & _SESSION:
        return SpaceSource(events="session", sessions=least)
    label: Literal["positive"] | None = "positive" if labelled else None
    if words & _POSITIVE:
        return SpaceSource(behaviours=settings.positive, label=label, sessions=least)
    meant = (
        ["cart", "fav"] if words & _KEPT else [kind for kind, names in KINDS.items() if words & set(names)]
    )
    return SpaceSource(behaviours=chosen(kinds, meant), label=label, sessions=least)


def chosen(kinds: Sequence[str], meant: Sequence[str]) -> tuple[str, ...] | None:
    """Return those of a log's behaviours that are of certain kinds; None (all of them) if there are none."""
    return tuple(k for k in kinds if any(k.lower() in KINDS[kind] for kind in meant)) or None


def label_behaviours(name: str, kinds: Sequence[str]) -> tuple[str, ...] | None:
    """Return the behaviours that a prediction is called after; None if there are none."""
    words = set(re.split(r"[_\d]+", name.lower()))
    return chosen(kinds, [kind for kind, names in KINDS.items() if words & set(names)])


def unknown_behaviours(named: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Return what is wrong with behaviours that were named, if the log does not have them."""
    have = f"it has {', '.join(kinds)}" if kinds else "it has no column of behaviours"
    return [
        f"the log has no behaviour `{b}`; {have}{close(b, list(kinds))}"
        for b in dict.fromkeys(named)
        if b not in kinds
    ]
