"""`specc keys`: which key has which row of a trained model's tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from specc.cli.common import fail
from specc.cli.models import ModelFolder
from specc.report.table import aligned

if TYPE_CHECKING:
    from specc_runtime.encode import Encoders, Vocabulary

TOGETHER = 1 << 16  # keys that are looked up at once


@click.command("keys", short_help="Look up keys and rows of a trained model's tables.")
@click.argument("model_path", metavar="MODEL", type=ModelFolder())
@click.argument("table", required=False)
@click.argument("given", metavar="[KEY]...", nargs=-1)
@click.option("--rows", is_flag=True, help="What is given are rows: say the key of each.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(model_path: Path, table: str | None, given: tuple[str, ...], rows: bool, as_json: bool) -> None:
    """Say which row of TABLE each KEY has, and how often the training data have it.

    A line has row, key and count, with tabs between; row 0 is that of all unknown keys. Without a KEY all
    rows of the table are listed, the most frequent first; KEY `-` reads keys from the standard input, one a
    line.
    Without a TABLE the model's tables are listed. A field with a table of its own is called `space.field`.
    Options stand before the keys; after `--` a key may begin with a hyphen.
    """
    from specc_runtime import ArtefactError
    from specc_runtime.encode import load_encoders

    try:
        manifest = _manifest(model_path)
        encoders = load_encoders(model_path, manifest)
    except ArtefactError as error:
        fail(str(error))
    if table is None:
        if rows:
            raise click.UsageError("--rows needs a TABLE and the rows")
        for line in _tables(encoders, as_json):
            click.echo(line)
        return
    vocabulary = encoders.vocabularies.get(table)
    if vocabulary is None:
        _no_table(encoders, manifest, table)
    if rows and not given:
        raise click.UsageError("--rows needs the rows, or - for those on the standard input")
    for row, key, count in _found(vocabulary, given, rows):
        if as_json:
            click.echo(json.dumps({"row": row, "key": key, "count": count}, ensure_ascii=False))
        else:
            click.echo(f"{row}\t{_shown(key)}\t{count}")


def _manifest(directory: Path) -> Mapping[str, Any]:
    from specc_runtime import ArtefactError
    from specc_runtime.record import models_in

    path = directory / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        what = f"{directory} is not a compiled model: it has no {path.name}{models_in(directory)}"
        raise ArtefactError(what) from None
    except ValueError as error:
        raise ArtefactError(f"{path} is not JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("fields"), list):
        raise ArtefactError(f"{path} is not a model's manifest")
    return found


def _no_table(encoders: Encoders, manifest: Mapping[str, Any], table: str) -> NoReturn:
    """End with what else there is."""
    from specc.report.suggest import nearest

    readers = (*manifest["fields"], *manifest.get("crosses", ()))
    others = {f["table"].removesuffix(".weight"): f.get("encoding", "cross") for f in readers if f["table"]}
    if table in others:
        fail(
            f"`{table}` has no vocabulary: `{others[table]}` works a row out of the value; {_known(encoders)}"
        )
    close = nearest(table, encoders.vocabularies)
    fail(f"the model has no table `{table}`; " + (f"did you mean `{close}`?" if close else _known(encoders)))


def _known(encoders: Encoders) -> str:
    names = ", ".join(f"`{name}`" for name in encoders.vocabularies)
    return f"those with one are {names}" if names else "no table of this model has one"


def _tables(encoders: Encoders, as_json: bool) -> Iterator[str]:
    """Yield a line a table."""
    lines = []
    for name, vocabulary in encoders.vocabularies.items():
        learnt = vocabulary.learnt
        of = None if learnt is None else learnt.keys
        unknown = None if learnt is None else learnt.unknown
        if as_json:
            yield json.dumps({"table": name, "keys": len(vocabulary.keys), "of": of, "unknown": unknown})
        else:
            said = "" if of is None else f"of {of:,}"
            share = "" if unknown is None else f"{100 * unknown:.2g} % of values unknown"
            lines.append((name, f"{len(vocabulary.keys):,} keys", said, share))
    yield from aligned(lines)


def _found(
    vocabulary: Vocabulary, given: tuple[str, ...], rows: bool
) -> Iterator[tuple[int, int | str | None, int]]:
    """Yield row, key and count of what is asked for, in its order."""
    if not given:
        counts = vocabulary.counts
        for begin in range(0, len(counts), TOGETHER):
            keys = vocabulary.keys.slice(begin, TOGETHER).to_pylist()
            for place, key in enumerate(keys, begin):
                yield place + 1, key, int(counts[place])
        return
    for some in _batches(given):
        if rows:
            wanted = [_row(text) for text in some]
            found = vocabulary.key_of(wanted)
        else:
            wanted = vocabulary.row_of(some).tolist()
            # As the vocabulary has it: a text of digits is an integer there.
            found = [
                text if key is None else key
                for text, key in zip(some, vocabulary.key_of(wanted), strict=True)
            ]
        for row, key in zip(wanted, found, strict=True):
            known = 0 < row <= len(vocabulary.counts)
            yield row, key, int(vocabulary.counts[row - 1]) if known else 0


def _batches(given: tuple[str, ...]) -> Iterator[list[str]]:
    """Yield what is given, with the lines of the standard input in the place of `-`."""
    some: list[str] = []
    for line in _lines(given):
        some.append(line)
        if len(some) == TOGETHER:
            yield some
            some = []
    if some:
        yield some


def _lines(given: tuple[str, ...]) -> Iterator[str]:
    for text in given:
        if text == "-":
            for line in sys.stdin:
                yield line.rstrip("\r\n")
        else:
            yield text


def _row(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise click.BadParameter(f"{text!r} is not a row: rows are numbers from 0", param_hint="--rows")
    return int(text)


def _shown(key: int | str | None) -> str:
    """Return a key on one line: a text with control characters in it as JSON writes it."""
    if key is None:
        return ""
    text = str(key)
    return text if text.isprintable() else json.dumps(text, ensure_ascii=False)
