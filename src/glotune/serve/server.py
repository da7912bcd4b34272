"""A server from its start to its end: the socket, connections that say nothing, and what SIGTERM leaves to finish."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from glotune.errors import UserError
from glotune.serve.app import Settings, build_app
from glotune.serve.limits import refuse_open_host
from glotune.verbs.predict import Predictor

HEADER_SECONDS = 10.0
"""For a request's headers to come, once the connection is there."""
IDLE_SECONDS = 30
"""That a connection stays open between two requests."""
FEWEST_CONNECTIONS = 256
"""That are served at once, however short the queue; beyond them and its fourfold: 503."""
MOST_HEADERS = 32 * 1024
"""Bytes of a request's headers."""


def serve(
    predictor: Predictor,
    name: str,
    settings: Settings,
    *,
    host: str,
    port: int,
    ready: Callable[[str], None],
) -> None:
    """Serves until SIGTERM or Ctrl-C; requests that were accepted are answered first.

    Args:
        ready: called with the URL once connections are taken.

    Raises:
        UserError: the address can't be had, or is open to others without a token.
    """
    refuse_open_host(host, settings.token)
    with _listening(host, port) as listener:
        bound = listener.getsockname()[1]
        config = uvicorn.Config(
            build_app(predictor, name, settings),
            http=Guarded,
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=int(2 * settings.timeout) + 1,
            h11_max_incomplete_event_size=MOST_HEADERS,
            limit_concurrency=max(FEWEST_CONNECTIONS, 4 * settings.queue_size),
        )
        # uvicorn ends in good order and then raises the signal once more: for us that end is as good as any other. And
        # a signal that comes before uvicorn listens for it ends us too.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with suppress(KeyboardInterrupt):
                ready(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
                uvicorn.Server(config).run(sockets=[listener])
        finally:
            signal.signal(signal.SIGTERM, before)


class Guarded(H11Protocol):
    """Closes connections whose request does not come: uvicorn itself waits for the rest of a header without end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._patience is None:
            self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._patience = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} on {host} is taken", remedy="Choose another with --port, or 0 for any free one"
            ) from error
        raise UserError(
            f"{host}, port {port} can't be served on ({error.strerror or error})",
            expected="an address of this machine, and a port above 1023",
        ) from error
