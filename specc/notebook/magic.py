"""The cell magic `%%arec`: a cell that holds a spec.

Promises: every fault is shown at its line and column of the cell, and no traceback; a cell with faults stops
"run all", and leaves what its name stands for as it was.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from keyword import iskeyword
from pathlib import Path
from typing import Any

import click
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic_arguments import MagicArgumentParser

import specc
from specc.cli.common import settings
from specc.driver import SpecError, check_source, normal, shown
from specc.notebook.mistakes import MISTAKES, tell
from specc.report import Diagnostic, Report
from specc.report.render import render
from specc.source import Source
from specc_runtime import DeviceError, Model
from specc_runtime.files import FileError, replace_file

_PARSER = MagicArgumentParser(prog="%%arec", add_help=False)
_PARSER.add_argument("words", nargs="*", metavar="NAME")
_PARSER.add_argument("-o", dest="file")


class Arec:
    """The magic of one shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell

    def arec(self, line: str, cell: str) -> Model | None:
        """Compile the spec in this cell, and show the model.

            %%arec [NAME] [PARAM=VALUE …] [-o FILE]

        NAME: what the model is called from here on; without it by the spec's own name. PARAM=VALUE: overrides
        of the spec's params, such as dim=16 or 'sizes=[64, 32]'. -o FILE: write the cell's text there, too,
        for `specc` on the command line; a library, which other specs `use`, needs it.
        """
        name, params, file = _given(line)
        # The line of %%arec is the cell's first.
        source = Source(f"In[{self.shell.execution_count}]", "\n" + normal(cell))
        report = Report()
        read = check_source(source, Path(), params, report)
        name = name or read.file.ident.name
        if report.has_errors:
            self._tell_of_before(name)
            raise _for_cells(report)
        if file is not None:
            _write(file, cell)
        if len(report):
            print(render(_for_cells(report).report, colour=True), end="")
        if read.graph is None:
            if file is None:
                raise UsageError("a library predicts nothing; -o FILE writes it where other specs can use it")
            print(f"{file} is written, for other specs to use")
            return None
        if not name.isidentifier() or iskeyword(name):
            raise UsageError(f"{name!r} is no name in Python: %%arec NAME gives the model another")
        model = self._compiled(source.text, params)
        before = self.shell.user_ns.get(name)
        self.shell.push({name: model})
        other = before is not None and not isinstance(before, Model)
        print(f"{name} is this model" + (f"; it was a {type(before).__name__}" if other else ""))
        return model

    def _compiled(self, text: str, params: dict[str, Any]) -> Model:
        try:
            return specc.compile(text, **params)
        except DeviceError as error:
            raise UsageError(str(error)) from None

    def _tell_of_before(self, name: str) -> None:
        if isinstance(self.shell.user_ns.get(name), Model):
            print(f"{name} is still the model that it was before this cell")


def _given(line: str) -> tuple[str, dict[str, Any], str | None]:
    """The name, the params and the file of a line. Raises UsageError."""
    try:
        given = _PARSER.parse_args(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"%%arec {line}: {error}") from None
    names = [word for word in given.words if "=" not in word]
    if len(names) > 1:
        raise UsageError(f"one name is enough, and these are {len(names)}: {', '.join(names)}")
    try:
        return "".join(names), settings(word for word in given.words if "=" in word), given.file
    except click.BadParameter as error:
        raise UsageError(error.message) from None


def _write(file: str, text: str) -> None:
    try:
        with replace_file(file) as fresh:
            fresh.write_text(text, encoding="utf-8")
    except FileError as error:
        raise UsageError(str(error)) from None


def _for_cells(report: Report) -> SpecError:
    """A report as an error, without the advice to run a command on a file."""
    found = Report()
    for diagnostic in report:
        found.add(_without_fix(diagnostic))
    return SpecError(found)


def _without_fix(diagnostic: Diagnostic) -> Diagnostic:
    fix, help = diagnostic.fix, diagnostic.help
    if fix is None:
        return diagnostic
    if f"`{fix.text}`" not in help and fix.title not in help:
        help = "; ".join(filter(None, [help, fix.title]))
    return replace(diagnostic, fix=None, help=help)


def load(shell: Any) -> None:
    """Give a shell the magic, models their pictures, and mistakes a sentence for a traceback."""
    Model.shows = shown
    if not shell.custom_exceptions:  # nobody else has asked for some
        shell.set_custom_exc(MISTAKES, tell)
    shell.register_magic_function(Arec(shell).arec, "cell", "arec")
