"""`specc data`: what is in data, and whether a model can be trained on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from specc.cli.common import FAULTS, fail, set_option
from specc.cli.data_options import data_options
from specc.cli.models import SpecOrFolder, manifest_from
from specc.cli.progress import counted

if TYPE_CHECKING:
    from specc.survey import Survey
    from specc_runtime.data import Dialect
    from specc_runtime.encode import Fault

SAMPLE = 100_000  # rows of each part that are looked at without --all


@click.command("data", short_help="Report what is in data, and every mismatch with a spec.")
@click.argument("model_path", metavar="MODEL", type=SpecOrFolder())
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@data_options
@set_option
@click.option("--all", "every", is_flag=True, help=f"Every row, not the first {SAMPLE:,} of each part.")
@click.option("--json", "json_wanted", is_flag=True, help="Print the report as JSON.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the report as a page, with a histogram a column.")  # fmt: skip
def command(
    model_path: Path,
    data: tuple[Path, ...],
    params: dict[str, Any],
    every: bool,
    json_wanted: bool,
    html: Path | None,
    dialect: Dialect,
) -> None:
    """Look over DATA before MODEL (a spec, or a trained model) learns from it; report everything at once.

    DATA are files or folders as for `specc train`. Missing columns, values that cannot be read, nulls,
    ranges, lists that are cut, keys that a vocabulary has no room for or a trained model does not know,
    constant columns, labels among the inputs, examples of one part in another.
    Exit code 0 if it can be trained on, 1 if `specc train` would refuse it.
    """
    from specc.survey import as_json, as_page, as_text
    from specc_runtime import ArtefactError
    from specc_runtime.encode import DataError
    from specc_runtime.files import replace_file

    if sys.stdout is None:
        fail("stdout is closed: there is nowhere to report to")
    manifest = manifest_from(model_path, params)
    try:
        survey = _surveyed(model_path, manifest, data, dialect, None if every else SAMPLE)
    except (DataError, ArtefactError) as error:
        fail(str(error))
    if html is not None:
        with replace_file(html) as path:
            path.write_text(as_page(survey), encoding="utf-8")
    click.echo(json.dumps(as_json(survey), indent=2, ensure_ascii=False) if json_wanted else as_text(survey))
    if html is not None:
        click.echo(f"{html}: written", err=True)
    if not survey.trainable:
        sys.exit(FAULTS)


def _surveyed(
    model_path: Path, manifest: dict[str, Any], data: tuple[Path, ...], dialect: Dialect, limit: int | None
) -> Survey:
    """Survey the data. Raises DataError, ArtefactError."""
    from dataclasses import replace

    from specc.survey import Survey, findings, learnt_labels, look, parts_of, told_of_labels, told_of_recipe
    from specc_runtime.encode import Encoders, load_encoders

    trained = (model_path / "encoders.json").is_file()
    encoders = load_encoders(model_path, manifest) if trained else Encoders.learn(manifest, ())
    parts = parts_of(data)
    faults: tuple[Fault, ...] = ()
    if not trained:
        classes, faults = learnt_labels(parts[0], manifest, dialect, limit)
        encoders = replace(encoders, classes=classes)
    for part in parts:
        with counted(f"reading {part.name}") as watch:
            for seen in look(part, manifest, encoders, dialect, trained, limit):
                watch(seen)
    told_of_labels(parts, faults)
    told_of_recipe(parts, manifest)
    return Survey(manifest["name"], parts, findings(manifest, parts))
