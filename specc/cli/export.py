"""`specc export`: a trained model as a file of another engine."""

from __future__ import annotations

import json
from pathlib import Path

import click

from specc.cli.common import FAULTS, fail, show
from specc.cli.models import ModelFolder, trained_from, trust_option


@click.command("export", short_help="Export a trained model: torch.export, AOTInductor, ONNX.")
@click.argument("model_path", metavar="MODEL", type=ModelFolder())
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The file to write; without it MODEL.pt2, MODEL.aoti.pt2 or MODEL.onnx, beside MODEL.",
)
@click.option(
    "--format",
    type=click.Choice(("pt2", "aoti", "onnx")),
    default="pt2",
    show_default=True,
    help="For torch.export.load, as machine code of AOTInductor, or for ONNX Runtime.",
)
@click.option(
    "--form",
    type=click.Choice(("request", "batch")),
    default="request",
    show_default=True,
    help="What is scored in one run: the candidates of one request, or of any number of requests.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="A prediction or output that is wanted; else all. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@trust_option
def command(
    model_path: Path,
    output: Path | None,
    format: str,
    form: str,
    only: tuple[str, ...],
    as_json: bool,
    untrusted: bool,
) -> None:
    """Write the trained MODEL as a program that needs neither specc nor its runtime.

    Requests, candidates and lengths may be any, 0 among them. The file is run at several sizes and compared
    with MODEL before it is put in its place. FILE.about/ has what it takes and gives (export.json), the
    manifest and the encoders. `specc serve MODEL --engine` runs the file that lies beside MODEL.
    """
    import specc
    from specc.export import ExportError
    from specc.export.export import export
    from specc_runtime.engines import beside
    from specc_runtime.files import FileError

    output = output or beside(model_path, format)
    if output.exists() and not output.is_file():
        kind = "a folder" if output.is_dir() else "a device"
        raise click.BadParameter(f"{output} is {kind}; name a file", param_hint="-o")
    if format == "aoti" and output.suffix != ".pt2":
        raise click.BadParameter(f"{output} does not end in .pt2, as torch asks of packages", param_hint="-o")
    model, encoders = trained_from(model_path, None, untrusted)
    try:
        apart = export(model.to("cpu"), output, format, form, only, encoders)
    except specc.SpecError as error:
        show(error.report)
        raise SystemExit(FAULTS) from None
    except (ExportError, FileError) as error:
        fail(str(error))
    if as_json:
        said = {"output": str(output), "format": format, "form": form, "difference": apart}
        click.echo(json.dumps(said, indent=2))
        return
    click.echo(f"{output}: {format}, at most {apart:.1e} off the model", err=True)
