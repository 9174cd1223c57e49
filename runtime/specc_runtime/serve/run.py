"""The server: a socket, the application, and an end that finishes what was begun."""

from __future__ import annotations

import socket
from collections.abc import Callable

import torch
import uvicorn

from specc_runtime.retrieval import Stages
from specc_runtime.score import Scorer
from specc_runtime.serve.app import application
from specc_runtime.serve.headers import within
from specc_runtime.serve.service import Limits, Service

DRAIN = 10  # seconds in which requests that have begun may end


class AddressError(OSError):
    """An address that cannot be had. The message is a sentence for the user."""


def serve(
    load: Callable[[], Scorer | Stages],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threads: int = 1,
    limits: Limits | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until the process is told to end (SIGINT, SIGTERM).

    load: gives a scorer that is warm; called again for each reload. port: 0 for any that is free. threads:
    requests that are scored at once, each by one core.
    Raises what `load` raises, and AddressError.
    """
    with _bound(host, port) as listener:
        torch.set_num_threads(1)
        service = Service(load, limits or Limits())
        server = server_of(service, threads)
        listener.listen(128)  # who comes from now on waits until the server is there
        own = listener.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        version = service.scorer.version[:12] or "unsaved"
        engine = service.scorer.engine
        if engine.milliseconds or engine.left_out:
            say(f"engine {engine.told()}")
        say(f"serving {service.scorer.manifest['name']} {version} at http://{name}:{own}")
        server.run(sockets=[listener])


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has an address. Raises AddressError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # asyncio sends at once (TCP_NODELAY) only where a socket says it is TCP: else answers may wait 40 ms.
        listener = socket.socket(found[0][0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise AddressError(f"{host}:{port} cannot be had: {error.strerror or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(found[0][4])
    except OSError as error:
        listener.close()
        raise AddressError(f"{host}:{port} cannot be had: {error.strerror or error}") from None
    return listener


def server_of(service: Service, threads: int) -> uvicorn.Server:
    """The server of a service, for sockets that it is given."""
    return uvicorn.Server(
        uvicorn.Config(
            application(service, threads),
            http=within(service.limits.seconds),
            log_level="warning",
            access_log=False,
            limit_concurrency=service.limits.connections,
            timeout_graceful_shutdown=DRAIN,
            server_header=False,
        )
    )
