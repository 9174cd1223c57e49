"""`specc vectors`: an output of the candidate alone for each row of a catalogue."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import fail
from specc.cli.data_options import data_options, tell
from specc.cli.keep import keep_option
from specc.cli.models import ModelFolder, device_option, devices_from, trained_from, trust_option
from specc.cli.output import write_tables
from specc.cli.progress import counted
from specc.cli.rows import Rows

if TYPE_CHECKING:
    import pyarrow as pa

    from specc.ir.graph import Graph
    from specc_runtime.data import Dialect
    from specc_runtime.retrieval import Lacking, Made

KINDS = (".parquet", ".pq", ".arrow", ".feather")
TAKEN = ("request", "candidate", "similarity")  # what answers to requests have of their own


def _known(ctx: click.Context, param: click.Parameter, given: Path) -> Path:
    if given.suffix.lower() in KINDS:
        return given
    raise click.BadParameter(f"{str(given)!r} does not end in .parquet or .arrow, which vectors are kept in")


@click.command("vectors", short_help="Compute vectors of a catalogue.")
@click.argument("model_path", metavar="MODEL", type=ModelFolder())
@click.argument(
    "data", metavar="CATALOGUE...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_known,
    help="A .parquet or .arrow file.",
)
@click.option("--only", metavar="OUTPUT", help="Which output, where several are of the candidate alone.")
@keep_option("Without it those that the vectors are computed from, which name the rows.")
@data_options
@device_option
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(
    model_path: Path,
    data: tuple[Path, ...],
    output: Path,
    only: str | None,
    keep: tuple[str, ...],
    devices: tuple[str, ...],
    untrusted: bool,
    dialect: Dialect,
    as_json: bool,
) -> None:
    """Compute an output of the candidate alone for each row of CATALOGUE with the trained MODEL.

    CATALOGUE is files or folders as for `specc predict`, or - for JSON lines on stdin; nothing is read of it
    but what that output is computed from, and what is kept. The file says which model made it, and which
    prediction goes by the product of these vectors with an output of the request; `specc index` reads it.
    """
    from specc_runtime.encode import DataError
    from specc_runtime.retrieval import Lacking, vectors
    from specc_runtime.score import narrowed

    model, encoders = trained_from(model_path, devices_from(devices), untrusted)
    name = only or _only(model.manifest)
    made, lacking = _made(model, _checked(model.manifest, name)), Lacking()
    manifest = narrowed(model.manifest, name)
    try:
        rows = Rows(data, manifest, dialect, keep, _columns(manifest), [*TAKEN, name])
        with counted("computing") as watch:
            tables = vectors(model, encoders, rows, made, rows.keep, lacking)
            count = write_tables(_watched(tables, watch), output)
    except DataError as error:
        fail(str(error))
    _tell_lacking(lacking)
    if made.product is None:
        tell(f"no score goes by these vectors: {made.why}")
    if as_json:
        said = {
            "output": str(output),
            "rows": count,
            "vectors": name,
            "width": made.width,
            "columns": list(rows.keep.values()),
            "prediction": made.prediction,
            "request": made.request,
            "product": made.product,
            "why": made.why or None,
            "empty": {column: found for column, (found, _) in lacking.empty.items()},
            "unknown": {column: found for column, (found, _) in lacking.unknown.items()},
        }
        click.echo(json.dumps(said, indent=2))
        return
    click.echo(f"{output}: {count:,} vectors `{name}` of {made.width} channels", err=True)


def _watched(tables: Iterator[pa.Table], watch: Callable[[int], None]) -> Iterator[pa.Table]:
    seen = 0
    for table in tables:
        yield table
        seen += len(table)
        watch(seen)


def _only(manifest: Mapping[str, Any]) -> str:
    """The one output of the candidate alone. Ends the command where there is none, or several."""
    outputs = manifest.get("outputs", ())
    found = [o["name"] for o in outputs if o["role"] == "candidate"]
    if len(found) > 1:
        raise click.UsageError(f"{', '.join(found)} are of the candidate alone: choose with --only")
    if not outputs:
        fail(
            "the model has no `output`: add one of the candidate alone to its spec, such as "
            "`output item_vector = …`, and train it again"
        )
    if not found:
        fail(
            "no output is of the candidate alone:\n" + "\n".join(f"  {_reads(manifest, o)}" for o in outputs)
        )
    return str(found[0])


def _checked(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The output of a name. Ends the command where it is none of the candidate alone."""
    outputs = {o["name"]: o for o in manifest.get("outputs", ())}
    if name not in outputs:
        known = f"the model's outputs: {', '.join(outputs)}" if outputs else "the model has no `output`"
        raise click.BadParameter(f"{known}; not {name}", param_hint="--only")
    if outputs[name]["role"] != "candidate":
        fail(
            f"{_reads(manifest, outputs[name])}: it is not of the candidate alone, and a catalogue has no "
            f"requests; "
            f"for rows with both, `specc predict MODEL ROWS --only {name}`"
        )
    return outputs[name]  # type: ignore[no-any-return]


def _reads(manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    fields = (*manifest["fields"], *manifest.get("crosses", ()))
    read = [f["path"] for f in fields if f["role"] == "request" and f["path"] in entry["fields"]]
    if not read:
        return f"`{entry['name']}` reads no field of the candidate"
    return f"`{entry['name']}` reads {', '.join(f'`{path}`' for path in read)} of the request"


def _columns(manifest: Mapping[str, Any]) -> list[str]:
    """The columns that the fields of a manifest read, and those that they fall back to."""
    names = [
        name
        for f in manifest["fields"]
        for name in (f["column"], f["fallback"], f["options"].get("weight"))
        if name is not None
    ]
    return list(dict.fromkeys(names))


def _made(model: Any, entry: Mapping[str, Any]) -> Made:
    """What is said of the vectors. Ends the command where they would differ from batch to batch."""
    from specc.ir.inputs import coupled
    from specc.similarity import product_of
    from specc_runtime.retrieval import Made

    own = Made(str(model.manifest["name"]), model.saved_as or "", str(entry["name"]), int(entry["width"]))
    graph = _graph(model.files)
    if graph is None:
        return Made(
            own.model, own.version, own.output, own.width, why="its spec is of another edition of arec"
        )
    if coupled(graph, graph.named[own.output]) is not None:
        fail(f"`{own.output}` reads other examples of its batch: a row of a catalogue has none")
    found = product_of(graph, own.output)
    if isinstance(found, str):
        return Made(own.model, own.version, own.output, own.width, why=found)
    about = (found.prediction, found.request, found.kind)
    return Made(own.model, own.version, own.output, own.width, *about)


def _graph(files: Mapping[str, str]) -> Graph | None:
    """The graph of a model folder's spec; None where this version of arec does not understand it."""
    from specc.driver import load

    with tempfile.TemporaryDirectory(prefix="arec-") as folder:
        for name, text in files.items():
            if name.endswith(".arec"):
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_text(text, encoding="utf-8")
        graph, report = load(Path(folder) / "spec.arec")
    return None if report.has_errors else graph


def _tell_lacking(lacking: Lacking) -> None:
    for found, what in ((lacking.empty, "no value"), (lacking.unknown, "a key that the model does not know")):
        for column, (count, first) in found.items():
            tell(
                f"`{column}` has {what} in {count:,} of {lacking.rows:,} rows, first in row {first:,}: to "
                f"the model "
                "these are all the same unknown key"
            )
