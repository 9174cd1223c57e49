"""A survey as JSON, as text, and as a page.

Promises: the same figures in all three; the text is a table a part, what was found, and one line that sums
up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from specc import pages
from specc.report.table import aligned
from specc.survey.columns import Column
from specc.survey.findings import ORDER, Finding, percent
from specc.survey.sketch import moment
from specc.survey.survey import Part

SHOWN = 8  # most frequent keys that a page shows


@dataclass(frozen=True)
class Survey:
    """model: the spec's or the model's name. parts: what was seen. found: what to say of it."""

    model: str
    parts: Sequence[Part]
    found: Sequence[Finding]

    @property
    def trainable(self) -> bool:
        return not any(f.level == "fault" for f in self.found)


def as_json(survey: Survey) -> dict[str, Any]:
    return {
        "model": survey.model,
        "trainable": survey.trainable,
        "findings": [asdict(f) for f in survey.found],
        "parts": [
            {
                "name": part.name,
                "files": [str(file) for file in part.files],
                "rows": part.rows,
                "all": part.whole,
                "columns": [_column(c) for c in _columns(part) if not c.absent],
            }
            for part in survey.parts
        ],
    }


def _column(column: Column) -> dict[str, Any]:
    found: dict[str, Any] = {
        "column": column.name,
        "field": column.path,
        "encoding": column.encoding,
        "values": column.values,
        "nulls": column.nulls,
        "distinct": column.distinct.number,
        "exact": not column.distinct.full,
    }
    if column.unknown is not None:
        found["unknown"] = column.unknown
    if column.keys:
        found["common"] = [{"key": key, "count": count} for key, count in column.distinct.common(SHOWN)]
    elif column.spread.count:
        spread = column.spread
        found |= {"least": spread.least, "mean": spread.mean, "most": spread.most}
    if column.axes:
        found["lists"] = [
            {
                "axis": a.name,
                "bound": a.bound,
                "lists": a.lists,
                "longest": a.longest,
                "mean": a.places / a.lists if a.lists else None,
                "cut": a.cut,
                "left_out": a.lost,
            }
            for a in column.axes
        ]
    return found


def _columns(part: Part) -> Iterator[Column]:
    yield from part.columns.values()
    yield from part.labels.values()


# ------------------------------------------------------------------ as text


def as_text(survey: Survey) -> str:
    lines: list[str] = []
    for part in (p for p in survey.parts if p.rows):
        lines += [title(part), *(f"  {line}" for line in aligned(_used(rows_of(part)))), ""]
    for finding in survey.found:
        lines.append(f"{finding.level}: {_where(finding)}: {finding.what}")
        if finding.help:
            lines.append(f"    help: {finding.help}")
    return "\n".join([*lines, summary(survey)])


def _where(finding: Finding) -> str:
    return ", ".join(text for text in (finding.part, finding.column and f"column `{finding.column}`") if text)


def _unbroken(text: str) -> str:
    """Write a text whose percent signs stay beside their numbers."""
    return text.replace(" %", "\u00a0%")


def title(part: Part) -> str:
    files = f"{len(part.files)} file{'s' if len(part.files) != 1 else ''}"
    rows = f"{part.rows:,} row{'s' if part.rows != 1 else ''}"
    return f"{part.name}: {files}, {rows if part.whole else f'the first {rows} (--all reads the rest)'}"


def summary(survey: Survey) -> str:
    counts = {level: sum(f.level == level for f in survey.found) for level in ORDER}
    said = ", ".join(f"{n} {level}{'s' if n > 1 else ''}" for level, n in counts.items() if n)
    verdict = "it can be trained on" if survey.trainable else "`specc train` refuses it"
    return f"{survey.model}: {said or 'nothing to say'}; {verdict}"


HEAD = ("column", "field", "read as", "null", "distinct", "values", "lists")


def rows_of(part: Part) -> list[tuple[str, ...]]:
    """Return the table of a part, a row a column."""
    labels = {id(c) for c in part.labels.values()}
    rows = []
    for column in _columns(part):
        field = f"label of {column.path}" if id(column) in labels else column.path
        if column.absent:
            rows.append((column.name, field, column.encoding, "absent", "", "", ""))
            continue
        about = "~" if column.distinct.full else ""
        rows.append(
            (
                column.name,
                field,
                column.encoding if id(column) not in labels else "",
                percent(column.nulls / column.values) if column.nulls else "",
                f"{about}{column.distinct.number:,}",
                values_of(column),
                "; ".join(_lists(axis) for axis in column.axes),
            )
        )
    return [HEAD, *rows]


def values_of(column: Column) -> str:
    """Describe values. Numbers: least … mean … most; keys: the most frequent ones."""
    if column.keys:
        known = column.values - column.nulls
        return ", ".join(
            f"{key if len(key) <= 16 else key[:15] + '…'} {percent(n / known)}"
            for key, n in column.distinct.common(2)
        )
    spread = column.spread
    if not spread.count:
        return ""
    if column.kind == "time":
        return " … ".join(moment(value) for value in (spread.least, spread.most))
    return " … ".join(f"{value:.6g}" for value in (spread.least, spread.mean, spread.most))


def _lists(axis: Any) -> str:
    if not axis.lists:
        return ""
    return f"mean {axis.places / axis.lists:.3g}, longest {axis.longest:,}"


def _used(rows: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Return the rows without the columns of which only the header says something."""
    used = [i for i in range(len(rows[0])) if any(row[i] for row in rows[1:])]
    return [[row[i] for i in used] for row in rows]


# ---------------------------------------------------------------- as a page


def as_page(survey: Survey) -> str:
    """Return a self-contained HTML page: what was found, and of each part a table and a histogram a
    column."""
    blocks = []
    if survey.found:
        head = ("", "where", "what", "what to do")[: 4 if any(f.help for f in survey.found) else 3]
        found = [(f.level, _where(f), _unbroken(f.what), f.help)[: len(head)] for f in survey.found]
        table = pages.table(head, found)
        blocks.append(pages.section("What was found", table))
    for part in survey.parts:
        head, *rows = rows_of(part)
        used = [i for i in range(len(head)) if any(row[i] for row in rows)]
        cells = [[row[i].replace(" ", "\u00a0") for i in used] for row in rows]
        table = pages.table([head[i] for i in used], cells)
        drawn = [figure for c in _columns(part) if not c.absent for figure in _figures(c)]
        blocks.append(pages.section(title(part), table, pages.figures(*drawn)))
    return pages.page(f"Data of {survey.model}", *blocks, about=summary(survey))


def _figures(column: Column) -> Iterator[str]:
    nulls = f"; {percent(column.nulls / column.values)} null" if column.nulls else ""
    name = column.name if column.encoding == "label" else f"{column.name} ({column.path})"
    if column.keys:
        common = [(key, float(n)) for key, n in column.distinct.common(SHOWN)]
        about = "~" if column.distinct.full else ""
        rest = column.distinct.number - len(common)
        more = f", the {len(common)} most frequent" if rest else ""
        yield pages.bars(name, common, about=f"{about}{column.distinct.number:,} keys{more}{nulls}")
    elif column.spread.count:
        edges, counts = column.spread.histogram()
        spread = column.spread
        about = f"{spread.least:.6g} to {spread.most:.6g}, mean {spread.mean:.6g}"
        if column.kind == "time":
            edges = [edge / 8.64e13 for edge in edges]
            about = f"{moment(spread.least)} to {moment(spread.most)}, in days since 1970"
        elif spread.least < edges[0] or spread.most > edges[-1]:
            about += ", shown without the outer hundredths"
        yield pages.histogram(name, edges, counts, x=column.name, y="values", about=about + nulls)
    for axis in column.axes:
        if axis.lists and axis.name != "vector":
            top = max(1, min(axis.longest, len(axis.counts) - 1))
            cut = (
                "" if axis.bound is None else f", bound {axis.bound:,}, {percent(axis.cut / axis.lists)} cut"
            )
            beyond = " and more" if axis.longest > top else ""
            edges = [i - 0.5 for i in range(top + 2)]
            about = f"mean {axis.places / axis.lists:.3g}, longest {axis.longest:,}{cut}"
            counts = axis.counts[: top + 1].tolist()
            yield pages.histogram(
                f"{column.name}: lengths", edges, counts, x=f"values a list, 0 to {top}{beyond}", y="lists",
                about=about,
            )  # fmt: skip
