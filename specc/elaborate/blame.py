"""Whose line a fault is told at: the user's own, where a library of ours only carries it out.

Promises: a fault inside the standard library moves to the argument that it is about, or to the call, with the
library's line as a second place. A setting that a block merely hands on is told where it was given as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specc import resources
from specc.frozen import dataclass
from specc.report import Label
from specc.source import Source, Span


@dataclass(frozen=True)
class CallSite:
    """A call that is being written out: what is called, where, and where each static was given."""

    name: str
    span: Span
    given: Mapping[str, Span]


@dataclass(frozen=True)
class Place:
    """Where a fault is told. `moved` is the place where it came to light, if that is another."""

    span: Span
    option: str = ""  # the static that it is about
    moved: Span | None = None


def is_standard(source: Source) -> bool:
    """Return whether a text is one of the standard library."""
    return source.name.startswith(str(resources.specs() / "std"))


def place_of(sites: Sequence[CallSite], code: str, span: Span) -> Place:
    """Return where a fault that came to light at a span is told."""
    name = span.text
    if not is_standard(span.source):
        given = sites[-1].given.get(name) if sites and code == "E0403" else None
        if given is not None and not is_standard(given.source) and not given.text.isidentifier():
            return Place(given, name, span)
        return Place(span)
    for site in reversed(sites):
        given = site.given.get(name)
        place = given or site.span
        if not is_standard(place.source):
            return Place(place, name if given else "", span)
        name = given.text if given is not None else ""
    return Place(span)


def told_at(
    sites: Sequence[CallSite], code: str, message: str, span: Span, details: dict[str, Any]
) -> tuple[str, Span]:
    """Return the message and the place of a fault; `details` gets the second places that lead to it."""
    place = place_of(sites, code, span)
    second: tuple[Label, ...] = tuple(details.get("secondary", ()))
    if place.moved is not None:
        text = details.get("label") or ("it goes on to here" if place.option else "it comes to light here")
        second = (Label(place.moved, text), *second)
        details["label"] = f"given as `{place.option}` here" if place.option else ""
        details.pop("fix", None)
        if place.option and message.startswith("`") and code == "E0403":
            message = f"`{place.option}`" + message[message.index("`", 1) + 1 :]
    at = place.span
    outside = tuple(
        Label(site.span, f"in this call of `{site.name}`")
        for site in reversed(sites[-2:])
        if (site.span.source is not at.source or not site.span.start <= at.start < site.span.stop)
        and not (place.moved is not None and is_standard(site.span.source))
    )
    details["secondary"] = second + outside
    return message, at
