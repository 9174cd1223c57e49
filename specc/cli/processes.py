"""Commands that torchrun runs in several processes at once: one of them speaks.

Promises: what goes as it should is told by the first process alone. What goes wrong is told once: by the
first, where it meets it, or by the process that alone knows of it; that the others end with that one is told
only where nobody says why.
"""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, NoReturn

import click

from specc.cli.common import FAULTS

if TYPE_CHECKING:
    from specc_runtime.ranks import RankLost, Ranks

_SOON, _LATER = 1.0, 4.0  # seconds in which another process may tell why


@contextmanager
def one_voice(lost: Callable[[], str]) -> Iterator[Ranks | None]:
    """Join the processes that torchrun has started, and keep all but the first quiet; None where it has
    started no others. lost: what there is to tell where another process is gone, beside that."""
    from specc_runtime.ranks import RankLost, joined, started

    try:
        with joined() as found:
            if found is None:
                yield None
                return
            heard = io.StringIO()
            with _stoppable() as stop:
                try:
                    with _quiet(heard, found.first):
                        yield found
                except (SystemExit, Exception) as fault:
                    # torchrun ends those that are left, also while they tell why.
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    # What a library makes of a signal in the middle of its import is anything.
                    error = next(iter(stop), fault)
                    if not isinstance(error, SystemExit | RankLost):
                        raise
                    _end(found, error, heard.getvalue(), lost)
    except RankLost as error:
        own = started()
        if own is None or own[0] == 0:
            click.echo(f"error: the processes of this training do not find each other: {error}", err=True)
        sys.exit(FAULTS)


@contextmanager
def _quiet(heard: io.StringIO, first: bool) -> Iterator[None]:
    with ExitStack() as stack:
        if not first:
            stack.enter_context(redirect_stderr(heard))
            stack.enter_context(redirect_stdout(io.StringIO()))
        yield


@contextmanager
def _stoppable() -> Iterator[list[RankLost]]:
    """Have SIGTERM, which torchrun sends to those that are left, end what is waited for. Yields what it has
    raised, if it has come."""
    from specc_runtime.ranks import RankLost

    came: list[RankLost] = []

    def stopped(number: int, frame: Any) -> None:
        came.append(
            RankLost("this training was stopped by a signal, as where another of its processes has ended")
        )
        raise came[-1]

    before = signal.signal(signal.SIGTERM, stopped)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(found: Ranks, error: BaseException, heard: str, lost: Callable[[], str]) -> NoReturn:
    """End this process, which has failed."""
    if not isinstance(error, SystemExit):
        if found.claim(_LATER):
            click.echo(f"error: {error}\n{lost()}", err=True)
        sys.exit(FAULTS)
    if found.first:
        found.claim()  # it has spoken
    elif heard and found.claim(_SOON):
        click.echo(heard, err=True, nl=False)
    sys.exit(error.code)
