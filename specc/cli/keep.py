"""Columns that go along with predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

ALL = "*"
F = TypeVar("F", bound=Callable[..., Any])


def keep_option(default: str) -> Callable[[F], F]:
    """Add the option `--keep COLUMN[=NAME]`, as `keep`. default: what goes along without it, for its help."""
    return click.option(
        "--keep",
        multiple=True,
        metavar="COLUMN[=NAME]",
        help=f"A column that goes along, under another name if one is given; * is all of them. {default}",
    )


def kept(
    wanted: Sequence[str], columns: Iterable[str], default: Iterable[str], taken: Sequence[str]
) -> dict[str, str]:
    """Return by column of the data the name it goes along under.

    wanted: as given. columns: that there are. default: what goes along without `--keep`, as far as it is
    there. taken: names that the predictions have. Raises click.BadParameter.
    """
    from specc.cli.data_options import tell
    from specc.report.suggest import nearest

    names = list(columns)
    found: dict[str, str] = {}
    if not wanted:
        return {name: name for name in default if name in names and name not in taken}
    for text in wanted:
        if text == ALL:
            found |= {name: name for name in names if name not in taken and name not in found}
            for name in names:
                if name in taken and not any(other.startswith(f"{name}=") for other in wanted):
                    tell(f"`{name}` does not go along, a result is called so: --keep {name}=NAME takes it")
            continue
        column, _, called = (text, "", "") if text in names else text.rpartition("=")
        column, called = (called, called) if not column else (column, called or column)
        if column not in names:
            close = nearest(column, names)
            also = f"did you mean {close!r}?" if close else f"there are {', '.join(names)}"
            raise click.BadParameter(f"the data has no column {column!r}; {also}", param_hint="--keep")
        found[column] = called
    for column, called in found.items():
        if called in taken:
            raise click.BadParameter(
                f"a prediction is called {called!r}: give the column another name, --keep {column}=NAME",
                param_hint="--keep",
            )
    doubled = {called for called in found.values() if list(found.values()).count(called) > 1}
    if doubled:
        raise click.BadParameter(f"two columns are to be called {doubled.pop()!r}", param_hint="--keep")
    return found


def naming(manifest: Mapping[str, Any]) -> list[str]:
    """Return the columns that name what is predicted for: those of fields called `id`, of the field that
    groups examples, and of the candidate's item."""
    from specc_runtime.train.census import item_of

    item = item_of(manifest)
    paths = {manifest["train"].get("group"), item["path"] if item else None}
    found = [
        name
        for f in manifest["fields"]
        if not f["axes"] and f["encoding"] != "bag" and (f["name"] == "id" or f["path"] in paths)
        for name in (f["column"], f["fallback"])
        if name is not None
    ]
    return list(dict.fromkeys(found))
