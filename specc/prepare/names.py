"""What columns of logs are called: common names by what they mean, in any of the ways in which they are
written.

Promises: `movieId`, `Movie ID`, `movie-id`, `movie_id:token` and `movie_id` are one name; of two columns of
one name neither is taken silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

ORDER = ("user", "item", "category", "behaviour", "time")
ALIASES: Mapping[str, tuple[str, ...]] = {
    "user": (
        "user", "user_id", "userid", "uid", "visitor_id", "visitorid", "customer_id", "member_id",
        "reviewer_id", "client_id", "account_id", "buyer_id",
    ),
    "item": (
        "item", "item_id", "itemid", "iid", "product_id", "productid", "goods_id", "movie_id", "movieid",
        "ad_id", "asin", "parent_asin", "article_id", "news_id", "video_id", "track_id", "song_id",
        "artist_id", "book_id", "isbn", "business_id", "sku", "sku_id", "content_id", "game_id", "poi_id",
        "venue_id",
    ),
    "category": ("category", "category_id", "categoryid", "cate", "cate_id", "cat", "cat_id", "i_category"),
    "behaviour": (
        "behaviour", "behavior", "behaviour_type", "behavior_type", "action", "action_type", "event",
        "event_type", "type",
    ),
    "time": (
        "time", "timestamp", "time_stamp", "event_time", "unix_review_time", "unixreviewtime", "datetime",
        "date_time", "date", "ts", "created_at", "unixtime", "unix_time",
    ),
}  # fmt: skip
# Which rows of a log with labels were shown together.
TOGETHER = (
    "request_id",
    "requestid",
    "impression_id",
    "impressionid",
    "impr_id",
    "imp_id",
    "display_id",
    "search_id",
    "srch_id",
    "query_id",
    "slate_id",
    "list_id",
    "page_view_id",
    "pageview_id",
)
ATTRIBUTES = ("user", "item", "category", "behaviour", "hour", "weekday", "age", "interval", "moment")
# RecBole writes the type of a column behind its name.
_TYPED = re.compile(r"(.+):(token|token_seq|float|float_seq)")


def plain(name: str) -> str:
    """Return a column's name in lower case, its words joined by `_`, without RecBole's type."""
    typed = _TYPED.fullmatch(name.strip())
    text = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", typed[1] if typed else name.strip())
    text = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", text)
    return re.sub(r"[\s\-.]+", "_", text).strip("_").lower()


def is_sequence(name: str) -> bool:
    """Return whether RecBole's type says that a column holds several values, with blanks between."""
    typed = _TYPED.fullmatch(name.strip())
    return typed is not None and typed[2].endswith("_seq")


def meaning_of(name: str) -> str | None:
    """Return what a column of that name is, if that is known."""
    return next((m for m, names in ALIASES.items() if plain(name) in names), None)


def is_known(name: str, meaning: str) -> bool:
    """Return whether a field of that name takes what a column of that meaning has, in one or in several."""
    return plain(name) in ALIASES[meaning] or plain(name).removesuffix("s") in ALIASES[meaning]


def found_in(name: str, columns: Iterable[str]) -> str | None:
    """Return the column that is called so: exactly, else in another way of writing it."""
    names = list(columns)
    return name if name in names else next((c for c in names if plain(c) == plain(name)), None)


def by_meaning(
    file: str,
    names: Sequence[str] | None,
    width: int,
    said: Mapping[str, int | str],
    needed: Sequence[str],
    option: str = "--columns",
) -> tuple[dict[str, int], list[str], list[str]]:
    """Return the places of a file's columns by what they are called here; faults; notes.

    names: the header's; None without one, and then width says how many columns there are. A column is called
    by its meaning where that was said or its name is common, else by its own name.
    """
    from specc.report.suggest import nearest

    faults: list[str] = []
    notes: list[str] = []
    found: dict[str, int] = {}
    twice = {n for n in names or () if (names or []).count(n) > 1}
    for meaning, column in said.items():
        if isinstance(column, int):
            if not 0 <= column < width:
                faults.append(
                    f"{file}: there is no column {column} for {meaning}; it has {width}, counted from 0"
                )
            else:
                found[meaning] = column
        elif names is None:
            faults.append(
                f"{file}: it has no header, so that {meaning} is no column {column!r} but one of 0 to "
                f"{width - 1}"
            )
        elif (exact := found_in(column, names)) is None:
            close = nearest(column, names)
            hint = f"did you mean {close}?" if close else f"it has {', '.join(names)}"
            faults.append(f"{file}: there is no column {column!r} for {meaning}; {hint}")
        elif exact in twice:
            faults.append(_two(file, exact, meaning, names, option))
        else:
            found[meaning] = names.index(exact)
    if names is None and not said and width == len(ORDER):
        found = {meaning: place for place, meaning in enumerate(ORDER)}
    for meaning, aliases in ALIASES.items():
        if names is not None and meaning not in said:
            candidates = [n for alias in aliases for n in names if plain(n) == alias]
            name = next((n for n in candidates if names.index(n) not in found.values()), None)
            if name in twice and meaning in needed:
                faults.append(_two(file, str(name), meaning, names, option))
            elif name is not None:
                found[meaning] = names.index(name)
                others = [
                    n for n in dict.fromkeys(candidates) if n != name and names.index(n) not in said.values()
                ]
                if others and meaning in needed:
                    listed = ", ".join(f"`{n}`" for n in others)
                    notes.append(
                        f"{file}: the {meaning} is column `{name}`, and not {listed}; if it is not, "
                        f"{option} {meaning}={others[0]}"
                    )
    # Any other column may be what a field is called.
    taken = set(found.values())
    for place, name in enumerate(names or ()):
        if place not in taken and name not in found and name not in twice:
            found[name] = place
    if twice and not faults:
        listed = ", ".join(f"`{n}`" for n in sorted(twice))
        notes.append(
            f"{file}: several columns are called {listed}; name one by its number, as in {option} item=1"
        )
    faults += _missing(
        file, names, width, [m for m in needed if m not in found and m not in said], faults, option
    )
    return found, faults, notes


def _two(file: str, name: str, meaning: str, names: Sequence[str], option: str) -> str:
    places = [str(i) for i, n in enumerate(names) if n == name]
    return (
        f"{file}: {len(places)} columns are called `{name}`; say which of them is the {meaning}, by its "
        "number: "
        f"{option} {meaning}={' or '.join(places)}"
    )


def _missing(
    file: str,
    names: Sequence[str] | None,
    width: int,
    missing: Sequence[str],
    faults: Sequence[str],
    option: str,
) -> list[str]:
    if not missing or faults:
        return []
    example = ",".join(f"{name}={min(place, width - 1)}" for place, name in enumerate(missing))
    if names is None:
        return [
            f"{file}: it is not clear which columns are {', '.join(missing)}; it has {width} and no header; "
            f"say so, such as {option} {example}"
        ]
    from specc.report.suggest import nearest

    near = []
    for meaning in missing:
        close = nearest(meaning, [plain(n) for n in names])
        at = next((n for n in names if close is not None and plain(n) == close), None)
        near.append(f"{meaning}={at or 'COLUMN'}")
    return [
        f"{file}: it is not clear which columns are {', '.join(missing)}; no name of its header, "
        f"{', '.join(names)}, is one that is known for it; say so, such as {option} {','.join(near)}"
    ]
