"""Connections whose headers must arrive in time.

uvicorn waits for headers as long as a client likes, and a client who sends a letter now and then would hold
one of the connections for ever. Bodies are read by the application, which has a bound of its own for them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_LATE = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b"
)


def within(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol, which answers 408 and hangs up where no request has begun so many seconds after a
    connection, or after the first letters of a later request on it."""
    told = b'{"error":"the headers did not arrive within %g seconds"}' % seconds

    class Timely(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timer = self.loop.call_later(seconds, self._late)

        def data_received(self, data: bytes) -> None:
            if self._timer is None and not self._busy():
                self._timer = self.loop.call_later(seconds, self._late)
            super().data_received(data)
            if self._busy():
                self._stop()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _busy(self) -> bool:
            """Whether the headers of a request are there whose answer is not yet whole."""
            cycle: Any = self.cycle
            return cycle is not None and not cycle.response_complete

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            self._timer = None
            if not self.transport.is_closing():
                self.transport.write(_LATE % (len(told), told))
                self.transport.close()

    return Timely
