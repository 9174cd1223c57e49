"""Models on the command line: a spec file or a compiled directory, and what there is of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click

from specc.cli.common import FAULTS, fail, show

F = TypeVar("F", bound=Callable[..., Any])


class ModelFolder(click.Path):
    """An argument that is a trained model's folder."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if Path(value).is_file():
            spec = Path(value).suffix == ".arec"
            advice = f"; `specc train {value} DATA` makes one" if spec else ""
            self.fail(f"{value} is a file, and a trained model is a folder{advice}", param, ctx)
        return super().convert(value, param, ctx)


class SpecOrFolder(click.Path):
    """An argument that is a spec's file, the name of a shipped one, or a model's folder."""

    def __init__(self) -> None:
        super().__init__(exists=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from specc.driver import located

        return super().convert(located(value), param, ctx)


def device_option(command: F) -> F:
    """Add the option `--device`, as `devices`."""
    return click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="[NAME=]TARGET",
        help="Where the model is: cpu, cuda:1, auto; or one of its devices, such as dense=cuda:1.",
    )(command)


def trust_option(command: F) -> F:
    """Add the option `--untrusted`, as `untrusted`."""
    return click.option(
        "--untrusted",
        is_flag=True,
        help="Run no Python of MODEL: compile its spec here. For a model of somebody else's.",
    )(command)


def manifest_from(path: Path, params: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a spec, or of a compiled directory, without torch. Ends the command where there
    is none."""
    if path.is_dir():
        if params:
            fail(f"{path} is compiled already: --set is for specs")
        from specc_runtime.record import ArtefactError, consistent, models_in

        try:
            found = json.loads(consistent(path, lambda files: files.text("manifest.json")))
            assert isinstance(found, dict)
            return found
        except ArtefactError as fault:
            if (path / "manifest.json").is_file():
                fail(str(fault))
        except (ValueError, AssertionError):
            pass
        fail(f"{path} is not a compiled model: it has no manifest.json that can be read{models_in(path)}")
    from specc.driver import load
    from specc.emit.manifest import manifest_of

    graph, report = load(path, params)
    show(report)
    if graph is None or report.has_errors:
        sys.exit(FAULTS)
    return manifest_of(graph)


def untrained_from(
    path: Path,
    params: dict[str, Any],
    devices: Any,
    seed: int | None = None,
    tables: Any = None,
    before: Sequence[str] | None = None,
) -> Any:
    """Return the untrained model of a spec or of a compiled directory.

    seed: of the weights; without it the recipe's. tables, before: which are divided between processes (see
    Division), and have no storage here.
    Ends the command where there is no model, a device is lacking, or a table cannot be divided."""
    import torch

    import specc
    from specc_runtime import ArtefactError, DeviceError, from_texts
    from specc_runtime.artefact import texts_of
    from specc_runtime.record import consistent
    from specc_runtime.train import Division, TrainingError, divide
    from specc_runtime.unfilled import bare_tables

    try:
        if path.is_dir():
            if params:
                fail(f"{path} is compiled already: --set is for specs")
            texts = consistent(path, texts_of)
        else:
            with bare_tables():
                texts = dict(specc.compile(path, **params).files)
        manifest = json.loads(texts["manifest.json"])
        division = Division.of(manifest, tables, before)
        torch.manual_seed(manifest["train"].get("seed", 0) if seed is None else seed)
        with bare_tables() if division.paths else nullcontext():
            model = from_texts(texts, path.name)
        divide(model, division.paths)
        return model.place(devices)
    except specc.SpecError as error:
        show(error.report)
        sys.exit(FAULTS)
    except (ArtefactError, DeviceError, TrainingError) as error:
        fail(str(error))


def trained_from(path: Path, devices: Any, untrusted: bool) -> tuple[Any, Any]:
    """Return the trained model of a directory and its encoders, which were saved together; with code that is
    compiled here where it is `untrusted`. Ends the command where there is none, or a device is lacking."""
    import specc
    from specc.untrusted import texts_of
    from specc_runtime import ArtefactError, DeviceError
    from specc_runtime.encode import load_trained

    try:
        return load_trained(path, devices, texts_of if untrusted else None)
    except specc.SpecError as error:
        show(error.report)
        sys.exit(FAULTS)
    except (ArtefactError, DeviceError) as error:
        fail(str(error))


def devices_from(given: tuple[str, ...]) -> Any:
    """Parse `--device cuda:0` for all, or `--device dense=cuda:1` by name."""
    named = {name: target for name, equals, target in (text.partition("=") for text in given) if equals}
    plain = [text for text in given if "=" not in text]
    return named or (plain[-1] if plain else None)
