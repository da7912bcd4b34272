"""What a client can't do: send without end, stall, or come without the token. In front of the application."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from glotune.errors import UserError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN_PATHS = ("/health", "/ping")
"""What a load balancer asks, which has no token."""


def refuse_open_host(host: str, token: str | None) -> None:
    """Checks that whoever can reach the server from elsewhere needs a token.

    Raises:
        UserError: otherwise.
    """
    if host not in LOOPBACK and not token:
        raise UserError(
            f"--host {host} without a token: whoever can reach this machine could use the model",
            expected="a token for any other address than 127.0.0.1",
            remedy="Set GLOTUNE_SERVE_TOKEN, or serve on 127.0.0.1 behind a proxy that checks who asks",
        )


class Limits:
    """Reads a request whole, within a size and a time, before the application sees it.

    Args:
        app: the application.
        max_body: bytes.
        read_seconds: from the request's headers to the end of its body.
        token: that requests must bear; None lets all in.
    """

    def __init__(self, app: App, *, max_body: int, read_seconds: float, token: str | None) -> None:
        self.app, self.max_body, self.read_seconds = app, max_body, read_seconds
        self.credentials = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif not self._may_in(scope):
            await _refuse(send, 401, "Validation", "a token is needed: Authorization: Bearer TOKEN")
        else:
            await self._pass_on(scope, receive, send)

    def _may_in(self, scope: Scope) -> bool:
        if self.credentials is None or scope["path"] in OPEN_PATHS:
            return True
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return hmac.compare_digest(given, self.credentials)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self.read_seconds):
                body = await self._read(scope, receive)
        except TimeoutError:
            await _refuse(send, 408, "Validation", f"the request's body did not come within {self.read_seconds:g} s")
            return
        except _TooLarge:
            await _refuse(send, 413, "Validation", f"the request's body is larger than {self.max_body:,} bytes")
            return
        if body is None:
            return  # the client has gone
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def once() -> Message:
            nonlocal whole
            if whole is None:
                return await receive()
            message, whole = whole, None
            return message

        await self.app(scope, once, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if stated.isdigit() and int(stated) > self.max_body:
            raise _TooLarge
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(bytes(message.get("body", b"")))
            size += len(parts[-1])
            if size > self.max_body:
                raise _TooLarge
            more = bool(message.get("more_body", False))  # ASGI leaves both out at will
        return b"".join(parts)


class _TooLarge(Exception):
    pass


async def _refuse(send: Send, status: int, error_type: str, message: str) -> None:
    """Answers and closes: what the client still sends is not read."""
    body = json.dumps({"error": message, "error_type": error_type}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")] + ([(b"www-authenticate", b"Bearer")] if status == 401 else [])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
