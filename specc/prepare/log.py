"""An event log as arrays: one row an event, ordered by user, time and place in the file.

Promises: CSV, TSV (with a header or without) and Parquet. A line that cannot be read is skipped and noted
with file and line, never a crash. An item's category and other attributes are those of its first event (or
of the item file), so that they are the same wherever the item appears.
Leaves to others: sessions' use, splits, negatives (examples).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from specc.prepare.settings import PrepareError, Settings, moment

if TYPE_CHECKING:
    import duckdb

Ints = npt.NDArray[np.int64]

ORDER = ("user", "item", "category", "behaviour", "time")
# Names that columns of logs commonly have, by what they mean.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "user_id", "userid", "uid", "visitorid", "visitor_id"),
    "item": ("item", "item_id", "itemid", "iid", "product_id", "goods_id", "movie_id", "ad_id", "asin"),
    "category": ("category", "category_id", "categoryid", "cate", "cate_id", "cat", "cat_id", "i_category"),
    "behaviour": (
        "behaviour", "behavior", "behaviour_type", "behavior_type", "action", "action_type", "event",
        "event_type", "type",
    ),
    "time": ("time", "timestamp", "time_stamp", "event_time", "unixreviewtime", "datetime", "date", "ts"),
}  # fmt: skip
SHOWN = 5  # bad lines that a warning spells out


@dataclass(frozen=True, eq=False)
class Log:
    """users, items: the raw values, by code. item_attributes: by name, one value an item.

    The rest has one entry an event: codes, Unix seconds, the session's number (sessions of one user follow
    one another), and further columns of the log by name. behaviours: raw values, or None without a column.
    """

    users: pa.Array
    items: pa.Array
    item_attributes: Mapping[str, pa.Array]
    user: Ints
    item: Ints
    time: Ints
    session: Ints
    behaviour: pa.Array | None
    extra: Mapping[str, pa.Array]

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Reading:
    """A log, the columns it was read from, and what there is to say about it."""

    log: Log
    columns: Mapping[str, int | str]
    item_columns: Mapping[str, int | str]
    notes: tuple[str, ...]


def read_log(path: Path, settings: Settings) -> Reading:
    """Raises PrepareError if the file is no log."""
    import duckdb

    notes: list[str] = []
    try:
        with duckdb.connect(config={"threads": 2}) as database:
            columns = _load(database, path, "raw", dict(settings.columns), notes, ("user", "item", "time"))
            item_columns: Mapping[str, int | str] = {}
            if settings.items is not None:
                file = Path(settings.items)
                item_columns = _load(
                    database, file, "catalogue", dict(settings.item_columns), notes, ("item",)
                )
            _bounded(database, path, settings, notes)
            return Reading(
                _log(database, settings, columns, item_columns), columns, item_columns, tuple(notes)
            )
    except duckdb.Error as error:
        raise PrepareError(f"{path}: {str(error).partition(chr(10))[0]}") from None


# --------------------------------------------------------------------------------------- reading


def _load(
    database: duckdb.DuckDBPyConnection,
    path: Path,
    table: str,
    said: dict[str, int | str],
    notes: list[str],
    needed: tuple[str, ...],
) -> dict[str, int | str]:
    """Read a file's wanted columns into a table named by what they mean; the columns they were."""
    if not path.is_file():
        raise PrepareError(f"{path}: there is no such file")
    if path.suffix in (".parquet", ".pq"):
        names = [
            str(row[0])
            for row in database.execute("describe select * from read_parquet(?)", [str(path)]).fetchall()
        ]
        columns = _columns(path, names, said, True, needed)
        picks = ", ".join(f"{_quoted(str(source))} as {_quoted(name)}" for name, source in columns.items())
        database.execute(f"create table {table}_text as select {picks}, file_row_number + 1 as line "
                         "from read_parquet(?, file_row_number = true)", [str(path)])  # fmt: skip
    else:
        columns = _read_text(database, path, table, said, notes, needed)
    _typed(database, path, table, columns, notes, needed)
    return columns


def _read_text(
    database: duckdb.DuckDBPyConnection,
    path: Path,
    table: str,
    said: dict[str, int | str],
    notes: list[str],
    needed: tuple[str, ...],
) -> dict[str, int | str]:
    with path.open("rb") as file:
        first = file.readline().decode("utf-8", "replace").rstrip("\r\n")
    if not first:
        raise PrepareError(f"{path}: the file is empty")
    mark = max("\t,;|", key=first.count)
    cells = [cell.strip().strip('"') for cell in first.split(mark)]
    known = {alias for aliases in ALIASES.values() for alias in aliases}
    header = any(isinstance(c, str) for c in said.values()) or (
        not said and any(cell.lower() in known for cell in cells)
    )
    columns = _columns(path, cells, said, header, needed)
    place = {name: cells.index(c) if isinstance(c, str) else c for name, c in columns.items()}
    picks = ", ".join(f"c{at} as {_quoted(name)}" for name, at in place.items())
    layout = {f"c{i}": "VARCHAR" for i in range(len(cells))}
    # In one thread, so that the order of rows is the file's, and a row's line can be counted.
    database.execute(
        f"create table {table}_text as select {picks}, row_number() over () as line "
        "from read_csv(?, delim = ?, header = ?, columns = ?, auto_detect = false, quote = '\"', "
        "parallel = false, store_rejects = true, rejects_table = ?, rejects_scan = ?)",
        [str(path), mark, header, layout, f"{table}_rejects", f"{table}_scans"],
    )  # fmt: skip
    rejects = database.execute(
        f"select line, any_value(csv_line) from {table}_rejects group by line order by line"
    ).fetchall()
    if rejects:
        _note_lines(notes, path, [(int(line), str(text or "")) for line, text in rejects], len(rejects))
    # A row's line is its place among those that were read, plus the lines before it that were not.
    database.execute(
        f"""create or replace table {table}_text as
            with skipped as (
              select line - before + 1 as begins, before
              from (select line, row_number() over (order by line) as before
                    from (select distinct line from {table}_rejects))),
            placed as (select * replace (line + {int(header)} as line) from {table}_text)
            select placed.* replace (line + coalesce(before, 0) as line)
            from placed asof left join (select begins, max(before) as before from skipped group by begins) s
            on placed.line >= s.begins"""
    )
    return columns


def _columns(
    path: Path, names: list[str], said: dict[str, int | str], header: bool, needed: tuple[str, ...]
) -> dict[str, int | str]:
    """By meaning, the columns of a file: what was said, else what their names or order say."""
    faults = []
    found: dict[str, int | str] = {}
    lowered = [name.lower() for name in names]
    for meaning, column in said.items():
        if isinstance(column, str) and column not in names:
            from specc.report.suggest import nearest

            close = nearest(column, names)
            hint = f"did you mean {close}?" if close else f"it has {', '.join(names)}"
            faults.append(f"{path}: there is no column {column!r} for {meaning}; {hint}")
        elif isinstance(column, int) and not 0 <= column < len(names):
            faults.append(
                f"{path}: there is no column {column} for {meaning}; it has {len(names)}, counted from 0"
            )
        else:
            found[meaning] = names[column] if header and isinstance(column, int) else column
    if header:
        for meaning, aliases in ALIASES.items():
            if meaning not in said:
                at = next((lowered.index(alias) for alias in aliases if alias in lowered), None)
                if at is not None and names[at] not in found.values():
                    found[meaning] = names[at]
        # Any other column may be what a field is called.
        taken = set(found.values())
        found.update({name: name for name in names if name not in taken and name not in found})
    elif not said and len(names) == len(ORDER):
        found = {meaning: place for place, meaning in enumerate(ORDER)}
    missing = [meaning for meaning in needed if meaning not in found and not faults]
    if missing:
        example = ",".join(f"{name}={place}" for place, name in enumerate(ORDER))
        faults.append(
            f"{path}: it is not clear which columns are {', '.join(missing)}; "
            + (f"it has {', '.join(names)}; " if header else f"it has {len(names)} and no header; ")
            + f"say so, such as --columns {example}"
        )
    if faults:
        raise PrepareError("\n".join(faults))
    return found


def _typed(
    database: duckdb.DuckDBPyConnection,
    path: Path,
    table: str,
    columns: Mapping[str, int | str],
    notes: list[str],
    needed: tuple[str, ...],
) -> None:
    """The table with integers, numbers and times for what is almost always one; other lines are noted."""
    types = dict(database.execute(f"select column_name, column_type from (describe {table}_text)").fetchall())
    picks = []
    for name in columns:
        value, cast = _quoted(name), ""
        if types[name] == "VARCHAR":
            text = f"nullif(trim({value}), '')"
            total, whole, real = database.execute(
                f"select count({text}), count(try_cast({text} as bigint)), count(try_cast({text} as double)) "
                f"from {table}_text"
            ).fetchone() or (0, 0, 0)
            fits = total and (lambda n, total=total: n >= 0.99 * total)
            cast = f"try_cast({text} as bigint)" if fits and fits(whole) else text
            if fits and not fits(whole) and fits(real) and name != "time":
                cast = f"try_cast({text} as double)"
        else:
            cast = value
        if name == "time":
            cast = _seconds(database, table, cast, types[name])
        picks.append(f"{cast} as {_quoted(name)}")
    database.execute(f"create table {table}_all as select {', '.join(picks)}, line from {table}_text")
    bad = " or ".join(f"{_quoted(name)} is null" for name in needed)
    lines = database.execute(f"select line from {table}_all where {bad} order by line").fetchall()
    if lines:
        listed = [
            (int(line), f"it lacks {' or '.join(needed)}, or has none that can be read") for (line,) in lines
        ]
        _note_lines(notes, path, listed, len(listed))
    database.execute(f"create table {table} as select * from {table}_all where not ({bad})")
    if not database.execute(f"select count(*) from {table}").fetchone()[0]:  # type: ignore[index]
        raise PrepareError(f"{path}: no line could be read" + "".join(f"\n  {note}" for note in notes))


def _seconds(database: duckdb.DuckDBPyConnection, table: str, cast: str, kind: str) -> str:
    """Unix seconds of a column of times: numbers (milliseconds if they are that large), dates or texts."""
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"epoch({cast}::timestamp)::bigint"
    if kind == "VARCHAR" and "bigint" not in cast:
        numeric = database.execute(f"select count(try_cast({cast} as double)) from {table}_text").fetchone()
        if not numeric or not numeric[0]:
            return f"epoch(try_cast({cast} as timestamp))::bigint"
        cast = f"try_cast({cast} as double)"
    largest = database.execute(f"select median({cast}) from {table}_text").fetchone()
    scale = 1000 if largest and largest[0] is not None and largest[0] > 1e11 else 1
    return f"floor({cast} / {scale})::bigint"


def _note_lines(notes: list[str], path: Path, lines: list[tuple[int, str]], count: int) -> None:
    shown = [f"  {path}:{line}: {text}" for line, text in lines[:SHOWN]]
    more = f"\n  and {count - SHOWN} more" if count > SHOWN else ""
    plural = "s" if count > 1 else ""
    notes.append(f"{count:,} line{plural} could not be read and {'are' if count > 1 else 'is'} skipped:\n"
                 + "\n".join(shown) + more)  # fmt: skip


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --------------------------------------------------------------------------------------- the period


def _bounded(database: duckdb.DuckDBPyConnection, path: Path, settings: Settings, notes: list[str]) -> None:
    """Keep the events from `begin` until `end`; warn of days that hardly have any."""
    for text, sign, word in ((settings.begin, "<", "before"), (settings.end, ">=", "from")):
        if text is not None:
            at = moment(text, settings.utc_offset)
            gone = database.execute(f"delete from raw where time {sign} {at} returning 1").fetchall()
            if gone:
                notes.append(f"{len(gone):,} events {word} {text} are left out")
    days = database.execute(
        "select floor((time + ?) / 86400)::bigint as day, count(*) from raw group by day order by day",
        [settings.utc_offset * 3600],
    ).fetchall()
    if not days:
        raise PrepareError(f"{path}: no event lies within the bounds --from and --to")
    usual = float(np.median([n for _, n in sorted(days, key=lambda d: -d[1])[: max(len(days) // 2, 1)]]))
    thin = usual * 0.01
    busy = [day for day, n in days if n >= thin]
    for outside, flag, bound in (
        ([n for day, n in days if day < busy[0]], "--from", busy[0]),
        ([n for day, n in days if day > busy[-1]], "--to", busy[-1] + 1),
    ):
        if outside:
            date = np.datetime64(int(bound), "D")
            side = "before" if flag == "--from" else "from"
            notes.append(
                f"warning: {sum(outside):,} events lie {side} {date}, on days that hardly have any; "
                f"leave them out with {flag} {date}"
            )


# --------------------------------------------------------------------------------------- arrays


def _log(
    database: duckdb.DuckDBPyConnection,
    settings: Settings,
    columns: Mapping[str, int | str],
    item_columns: Mapping[str, int | str],
) -> Log:
    extra = [name for name in columns if name not in ORDER]
    by_item = (["category"] if "category" in columns else []) + extra
    firsts = ", ".join(f"arg_min({_quoted(n)}, (time, line)) as {_quoted(n)}" for n in by_item)
    database.execute(
        f"create table items as select item, row_number() over (order by item) - 1 as code"
        f"{', ' + firsts if firsts else ''} from raw group by item"
    )
    database.execute("create table users as select user, row_number() over (order by user) - 1 as code "
                     "from (select distinct user from raw)")  # fmt: skip
    # Ties of time are broken by the place in the file, so that the same log gives the same examples.
    picks = "".join(f", r.{_quoted(n)}" for n in ["behaviour"] * ("behaviour" in columns) + extra)
    events = database.sql(
        f"""with ordered as (
              select u.code as u, i.code as i, r.time as t, r.line as n{picks},
                     coalesce(r.time - lag(r.time) over w > {settings.session_gap}, true) as starts
              from raw r join users u using (user) join items i on r.item = i.item
              window w as (partition by u.code order by r.time, r.line))
            select *, sum(starts::bigint) over (order by u, t, n rows unbounded preceding) - 1 as s
            from ordered order by u, t, n"""
    ).to_arrow_table()
    names = list(by_item)
    joined = "select items.* from items"
    if item_columns:
        names = list(dict.fromkeys([*by_item, *(n for n in item_columns if n != "item")]))
        own = [n for n in by_item if n not in item_columns]
        picked = [f"items.{_quoted(n)}" for n in own] + [f"c.{_quoted(n)}" for n in names if n not in own]
        joined = (
            f"select items.item, items.code, {', '.join(picked)} from items left join "
            "(select * from catalogue qualify row_number() over (partition by item order by line) = 1) c "
            "on items.item = c.item"
        )
    items = database.sql(f"{joined} order by code").to_arrow_table()
    users = database.sql("select user from users order by code").to_arrow_table()

    def ints(name: str) -> Ints:
        found: Ints = events.column(name).cast(pa.int64()).to_numpy()
        return found

    def whole(table: pa.Table, name: str) -> pa.Array:
        return table.column(name).combine_chunks()

    return Log(
        users=whole(users, "user"),
        items=whole(items, "item"),
        item_attributes={name: whole(items, name) for name in names},
        user=ints("u"),
        item=ints("i"),
        time=ints("t"),
        session=ints("s"),
        behaviour=whole(events, "behaviour") if "behaviour" in columns else None,
        extra={name: whole(events, name) for name in extra},
    )


def behaviours_of(log: Log) -> list[str]:
    """The kinds of behaviour in a log, the most frequent first."""
    if log.behaviour is None:
        return []
    counted = log.behaviour.value_counts()
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return [str(value) for value, _ in sorted(pairs, key=lambda p: -p[1]) if value is not None]


def of_behaviours(log: Log, wanted: Iterable[str] | None) -> npt.NDArray[np.bool_]:
    """Which events are of certain behaviours; all, where none are named."""
    import pyarrow.compute as pc

    if wanted is None or log.behaviour is None:
        return np.ones(len(log), dtype=bool)
    texts = log.behaviour.cast(pa.string())
    found: npt.NDArray[np.bool_] = pc.is_in(texts, pa.array(list(wanted), pa.string())).to_numpy(
        zero_copy_only=False
    )
    return found
