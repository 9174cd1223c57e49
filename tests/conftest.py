"""What every test may rely on."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    # A process that was started in the background may ignore Ctrl-C, as trainings then do, too.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
