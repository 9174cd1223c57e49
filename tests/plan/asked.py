"""`specc plan` as the tests of this folder ask it."""

from __future__ import annotations

from click.testing import CliRunner, Result

from specc.cli.plan import command


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result
