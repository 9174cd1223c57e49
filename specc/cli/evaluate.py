"""`specc evaluate`: a trained model's metrics beside those of what it must beat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specc.cli.common import fail
from specc.cli.data_options import data_options, tell
from specc.cli.models import device_option, devices_from, model_from

if TYPE_CHECKING:
    from specc_runtime.data import Dialect


@click.command("evaluate", short_help="Evaluate a trained model beside baselines.")
@click.argument("model_path", metavar="MODEL", type=click.Path(exists=True, path_type=Path, file_okay=False))
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--group", help="The field (user.id) or column whose values group examples for GAUC.")
@data_options
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    model_path: Path,
    data: tuple[Path, ...],
    group: str | None,
    devices: tuple[str, ...],
    as_json: bool,
    dialect: Dialect,
) -> None:
    """Evaluate the trained MODEL on the examples DATA: files or folders, as `specc train` takes them.

    Of a folder that has parts, the one called test is taken. Beside the model stand its item's
    popularity in the training data, and the mean label.
    """
    from specc.cli.results import as_text
    from specc_runtime import ArtefactError
    from specc_runtime.data import find_tests
    from specc_runtime.encode import DataError
    from specc_runtime.train import evaluate_files

    model = model_from(model_path, {}, devices_from(devices))
    try:
        tests, said = find_tests(data)
        for line in said:
            tell(line)
        results = evaluate_files(model, model_path, tests, group, dialect=dialect, tell=tell)
    except (DataError, ArtefactError) as error:
        fail(str(error))
    click.echo(json.dumps(results, indent=2) if as_json else as_text(results))
