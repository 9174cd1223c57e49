"""Whole numbers of options: none is beyond what machines count to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from specc.cli import main
from specc.cli.numbers import MOST, Whole
from tests.cli.test_predict import run


def numbers() -> Iterator[tuple[str, click.Parameter]]:
    """Every option or argument that is a whole number, with its command."""
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        for parameter in command.params:
            if isinstance(parameter.type, click.types.IntParamType):
                yield name, parameter


def test_every_whole_number_is_bounded() -> None:
    found = list(numbers())
    assert len(found) > 30
    assert [
        (name, p.name) for name, p in found
        if not isinstance(p.type, Whole) and getattr(p.type, "max", None) is None
    ] == []  # fmt: skip


def test_a_number_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    done = run("score", tmp_path, tmp_path / "rows", "--top", MOST + 1)
    assert done.exit_code == 2
    assert f"Invalid value for '--top': {MOST + 1} is beyond what is counted to, {MOST}" in done.output
