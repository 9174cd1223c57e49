"""`specc evaluate`: a trained model's metrics beside those of what it must beat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from specc.cli.common import fail
from specc.cli.data_options import data_options, tell
from specc.cli.models import ModelFolder, device_option, devices_from, trained_from, trust_option

if TYPE_CHECKING:
    from specc_runtime.data import Dialect


@click.command("evaluate", short_help="Evaluate a trained model beside baselines.")
@click.argument("model_path", metavar="MODEL", type=ModelFolder())
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--group",
    help="The field (user.id) or column whose values group examples for GAUC, NDCG, hit rate and MRR.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Metrics of each value of this column (or field), too. Repeatable.",
)
@click.option(
    "--at",
    multiple=True,
    type=click.IntRange(1, 1000),
    default=(10,),
    show_default=True,
    metavar="K",
    help="NDCG and hit rate of the first K of a group; accuracy of the first K classes. Repeatable.",
)
@data_options
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a report with curves, too."
)
@device_option
@trust_option
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    model_path: Path,
    data: tuple[Path, ...],
    group: str | None,
    by: tuple[str, ...],
    at: tuple[int, ...],
    html: Path | None,
    devices: tuple[str, ...],
    untrusted: bool,
    as_json: bool,
    dialect: Dialect,
) -> None:
    """Evaluate the trained MODEL on the examples DATA: files or folders, as `specc train` takes them.

    Of a folder that has parts, the one called test is taken. Beside the model stand its item's
    popularity in the training data, and the mean label.
    """
    from specc.cli import results
    from specc_runtime import ArtefactError
    from specc_runtime.data import find_tests
    from specc_runtime.encode import DataError
    from specc_runtime.files import FileError, replace_file
    from specc_runtime.finite import NotFinite
    from specc_runtime.train import evaluate_files
    from specc_runtime.train.report import FILE, read_lines

    model, _ = trained_from(model_path, devices_from(devices), untrusted)
    try:
        tests, said = find_tests(data)
        for line in said:
            tell(line)
        found = evaluate_files(model, model_path, tests, group, dialect=dialect, tell=tell, by=by, at=at)
        if html is not None:
            from specc.cli.results_page import page

            text = page(str(model_path), [str(path) for path in tests], found, read_lines(model_path / FILE))
            with replace_file(html) as fresh:
                fresh.write_text(text, encoding="utf-8")
    except (DataError, ArtefactError, FileError, NotFinite) as error:
        fail(str(error))
    click.echo(json.dumps(results.as_json(found), indent=2) if as_json else results.described(found))
    if html is not None:
        click.echo(f"{html}: written", err=True)
