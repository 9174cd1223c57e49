"""The command line: a thin face over the library, one file a command.

Promises: `specc --help` and every command that needs no tensors answer without torch. A command's module is
imported when it is called, or asked for its help.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import click

from specc.collector import uncollected
from specc.version import __version__

# By command its section in the help, and its one line there.
COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("Specs", "Check specs; report all faults at once."),
    "fmt": ("Specs", "Rewrite specs in their one canonical form."),
    "lsp": ("Specs", "Answer an editor: the language server."),
    "explain": ("Specs", "Explain a diagnostic's code, with examples."),
    "show": ("Specs", "Draw a model: SVG, HTML or Mermaid."),
    "dump": ("Specs", "Print any stage of the compiler as text."),
    "compile": ("Models", "Compile a spec to a PyTorch module."),
    "plan": ("Models", "Predict memory by device, and propose places."),
    "variants": ("Models", "Count, list and sample the variants a spec stands for."),
    "diff": ("Models", "Tell what differs between two models, weights included."),
    "test": ("Models", "Property-test a spec."),
    "data": ("Data", "Report what is in data, and every mismatch with a spec."),
    "prepare": ("Data", "Turn an event log into examples for a spec."),
    "train": ("Data", "Train a compiled model."),
    "sweep": ("Data", "Train variants of a spec, and find the best."),
    "evaluate": ("Data", "Evaluate a trained model beside baselines."),
    "card": ("Data", "Write a model card, as the Hugging Face Hub shows it."),
    "inspect": ("Data", "Look into a trained model: attention, fields, tables."),
    "predict": ("Data", "Predict for rows: one row, one prediction."),
    "score": ("Data", "Score candidates for requests."),
    "serve": ("Data", "Serve a trained model over HTTP."),
    "vectors": ("Data", "Compute vectors of a catalogue."),
    "index": ("Data", "Index vectors, and say what the index finds."),
    "export": ("Data", "Export a trained model: torch.export, AOTInductor, ONNX."),
    "keys": ("Data", "Look up keys and rows of a trained model's tables."),
    "demo": ("Data", "Train DSIN on generated events and show what it learnt."),
}


class _NoEmpty(click.Path):
    """A path that is not empty, as one of a variable without a value is: it would be the current folder."""

    def __init__(self, path: click.Path) -> None:
        vars(self).update(vars(path))
        self.path = path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty, and should be a path", param, ctx)
        return self.path.convert(value, param, ctx)


class _Commands(click.Group):
    """Commands by name, each imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        with uncollected():
            command = import_module(f"specc.cli.{name}").command
        assert isinstance(command, click.Command)
        for param in command.params:
            if isinstance(param.type, click.Path):
                param.type = _NoEmpty(param.type)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from specc.report.suggest import nearest

            close = nearest(args[0], COMMANDS)
            ctx.fail(f"there is no command {args[0]!r}" + (f"; did you mean {close!r}?" if close else ""))
        ctx.meta["arguments"] = list(args)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **settings: Any) -> Any:
        own: Any = super().main
        if settings.pop("standalone_mode", True):
            from specc.cli.boundary import run

            run(lambda: own(*args, **settings, standalone_mode=False))
        return own(*args, **settings, standalone_mode=False)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, (section, line) in COMMANDS.items():
            sections.setdefault(section, []).append((name, line))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 fine, 1 faults in a spec or in data, 2 wrong usage.",
)
@click.version_option(__version__, prog_name="specc")
def main() -> None:
    """Compile arec specs of recommendation models to PyTorch, and train, test and score them."""
    # For its user, not for who looks for the line that said it.
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
