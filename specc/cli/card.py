"""`specc card`: a trained model's folder as a model card, the README that the Hugging Face Hub shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from specc.cli.common import fail
from specc.cli.data_options import data_options, tell
from specc.cli.models import device_option, devices_from, trained_from, trust_option

if TYPE_CHECKING:
    from specc.card import Figures
    from specc_runtime.data import Dialect


@click.command("card", short_help="Write a model card: the README of a trained model's folder.")
@click.argument("model_path", metavar="MODEL", type=click.Path(exists=True, path_type=Path, file_okay=False))
@click.argument("data", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to, such as MODEL/README.md; without it to standard output.",
)
@click.option("--license", "licence", metavar="ID", help="As the Hub knows it: apache-2.0, mit, …")
@data_options
@device_option
@trust_option
def command(
    model_path: Path,
    data: tuple[Path, ...],
    output: Path | None,
    licence: str | None,
    devices: tuple[str, ...],
    untrusted: bool,
    dialect: Dialect,
) -> None:
    """Write a card of the trained MODEL: what it reads and predicts, what it was trained on, how good it is,
    and how it is used.

    Its figures are those of DATA, files or folders as `specc evaluate` takes them; without them those that
    the training had on its validation data. It begins with the metadata that the Hugging Face Hub reads. A
    file that is there is replaced.
    """
    from specc.card import card, read
    from specc_runtime import ArtefactError
    from specc_runtime.files import FileError, replace_file

    try:
        known = read(model_path)
        figures = None
        if data:
            figures = _measured(model_path, data, devices_from(devices), untrusted, dialect)
        elif (figures := known.validation()) is None:
            tell("the folder has no figures: name test data, specc card MODEL DATA …, to have some")
        text = card(known, figures, licence)
        if output is None:
            click.echo(text, nl=False)
        else:
            with replace_file(output) as fresh:
                fresh.write_text(text, encoding="utf-8")
    except (ArtefactError, FileError) as error:
        fail(str(error))
    if licence is None:
        tell("the card says that nobody has chosen a licence yet: --license ID says which it is")
    if output is not None:
        tell(f"{output} is written")


def _measured(
    model_path: Path, data: tuple[Path, ...], devices: object, untrusted: bool, dialect: Dialect
) -> Figures:
    """Evaluate the model. Ends the command where that is not possible."""
    from specc.card import Figures
    from specc_runtime import ArtefactError
    from specc_runtime.data import find_tests
    from specc_runtime.encode import DataError
    from specc_runtime.finite import NotFinite
    from specc_runtime.train import evaluate_files, first_of
    from specc_runtime.train.content import contents

    model, _ = trained_from(model_path, devices, untrusted)
    try:
        tests, said = find_tests(data)
        for line in said:
            tell(line)
        at = first_of(model.manifest["train"]["metric"])
        found = evaluate_files(model, model_path, tests, dialect=dialect, tell=tell, at=at)
        return Figures(found.results, "test", contents(tests), found.examples)
    except (ArtefactError, DataError, NotFinite) as error:
        fail(str(error))
