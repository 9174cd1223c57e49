"""The options that say how text files of data are to be read, the same for every command that reads them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from specc_runtime.data import Dialect

F = TypeVar("F", bound=Callable[..., Any])
_TABS = {"tab": "\t", "\\t": "\t", "space": " ", "comma": ",", "semicolon": ";", "bar": "|"}


def data_options(command: F) -> F:
    """Add `--sep --columns --no-header --null --integral`, as one `dialect`."""

    @functools.wraps(command)
    def given(*arguments: Any, sep: str | None, columns: str | None, no_header: bool, null: tuple[str, ...],
              integral: tuple[str, ...], **options: Any) -> Any:  # fmt: skip
        dialect = dialect_of(sep, columns, no_header, null, integral)
        return command(*arguments, dialect=dialect, **options)

    wrapped: Callable[..., Any] = given
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return cast(F, wrapped)


_OPTIONS = (
    click.option("--sep", metavar="TEXT", help="What separates cells of a text file: a character, tab, or "
                 "several such as ::. Without it what the first lines agree on."),
    click.option("--columns", metavar="NAMES", help="Names for columns of text files: user_id,ad_item in "
                 "order for files without a header, or user_id=0,click=5 by place, or user_id=uid by name."),
    click.option("--no-header", is_flag=True, help="The first line of text files is no header."),
    click.option("--null", multiple=True, metavar="TEXT", help="A text that stands for no value, such as NA, "
                 "besides the empty one. Repeatable."),
    click.option("--integral", multiple=True, metavar="COLUMN", help="A column of integers that are written "
                 "as 7.0. Repeatable."),
)  # fmt: skip


def dialect_of(
    sep: str | None, columns: str | None, no_header: bool, null: tuple[str, ...], integral: tuple[str, ...]
) -> Dialect:
    """Return the dialect that options say. Raises click.UsageError."""
    from specc_runtime.data import Dialect

    if sep is not None:
        sep = _TABS.get(sep, sep)
        if not sep or '"' in sep or "\n" in sep or "\r" in sep or (len(sep) == 1 and not sep.isascii()):
            raise click.BadParameter(f"{sep!r} cannot separate cells", param_hint="--sep")
    names = columns_from(columns) if columns is not None else {}
    if no_header:
        if not names:
            raise click.UsageError("--no-header needs --columns to say what the columns are called")
        if any(isinstance(place, str) for place in names.values()):
            raise click.UsageError("without a header columns go by place: --columns user_id=0,click=5")
    return Dialect(sep, names, False if no_header else None, null, frozenset(integral))


def columns_from(text: str) -> dict[str, int | str]:
    """Parse `a,b` by place, `a=3,b=7` by place, or `a=x` by name. Raises click.BadParameter."""
    found: dict[str, int | str] = {}
    cells = [cell.strip() for cell in text.split(",")]
    pairs = ["=" in cell for cell in cells]
    for place, cell in enumerate(cells):
        name, equals, column = (part.strip() for part in cell.partition("="))
        if any(pairs) and not (equals and name and column):
            raise click.BadParameter(
                f"{cell!r} is not NAME=COLUMN, as the others are", param_hint="--columns"
            )
        if not name:
            continue  # a column that is not wanted
        if name in found:
            raise click.BadParameter(f"{name} is there twice", param_hint="--columns")
        found[name] = (int(column) if column.isdecimal() else column) if equals else place
    if not found:
        raise click.BadParameter("it names no column", param_hint="--columns")
    return found


def tell(text: str) -> None:
    """Tell on stderr what was decided or noticed, a line each."""
    click.echo(f"note: {text}", err=True)
