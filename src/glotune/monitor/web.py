"""`glotune monitor --web`: the report page, live, on this machine, behind a token, with nothing loaded from outside."""

from __future__ import annotations

import errno
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from glotune.errors import UserError
from glotune.monitor import once
from glotune.monitor.many import Fleet
from glotune.monitor.view import Polling, RunView
from glotune.report.content import gather
from glotune.report.page import render_page
from glotune.run.data import load_run
from glotune.run.state import State
from glotune.words import score

LOOPBACK = ("127.0.0.1", "localhost", "::1")
COOKIE = "glotune-token"
SHELL_POLICY = (
    "default-src 'self'; img-src data:; script-src 'self'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SHELL = Path(__file__).parent / "shell"


class MonitorServer(ThreadingHTTPServer):
    """Serves the runs of one place to whoever knows the token."""

    daemon_threads = True

    def __init__(self, place: Path, host: str, port: int, token: str | None = None) -> None:
        self.pages = Pages(place)
        self.token = token or secrets.token_urlsafe(24)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise _refused(host, port, error) from error
        self.names = {host, *LOOPBACK} if host in LOOPBACK else None

    @property
    def url(self) -> str:
        """What to open; the token is in it."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/?token={self.token}"


def serve(place: Path, host: str, port: int, *, log: Callable[[str], None] | None = None) -> None:
    """Serves until Ctrl-C.

    Raises:
        UserError: the port is taken, or the address is not this machine's.
    """
    from glotune.cli.console import say, show

    with MonitorServer(place, host, port) as server:
        if host not in LOOPBACK:
            say(f"Serving on {host}: whoever can reach it and has the link sees your runs. There is no encryption.")
        (log or show)(server.url)
        say("Ctrl-C ends it; the runs go on.")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def _refused(host: str, port: int, error: OSError) -> UserError:
    if error.errno == errno.EADDRINUSE:
        return UserError(f"port {port} on {host} is taken", remedy="Choose another with --port, or 0 for any free one")
    if error.errno == errno.EACCES:
        return UserError(f"port {port} on {host} is not yours to open", remedy="Choose one above 1023 with --port")
    return UserError(f"{host} can't be served on ({error.strerror or error})", expected="an address of this machine")


class _Handler(BaseHTTPRequestHandler):
    """One request. Everything but the token's first visit needs its cookie."""

    server: MonitorServer
    server_version, sys_version = "glotune", ""
    FILES: ClassVar[dict[str, tuple[str, str]]] = {
        "/": ("index.html", "text/html"),
        "/shell.js": ("shell.js", "text/javascript"),
        "/shell.css": ("shell.css", "text/css"),
    }

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        query = parse_qs(asked.query)
        if not self._is_from_here():
            self._say(HTTPStatus.FORBIDDEN, "This server answers only to its own name.")
        elif "token" in query and self._is_token(query["token"][0]):
            self._welcome()
        elif not self._is_token(self._cookie()):
            self._say(HTTPStatus.FORBIDDEN, "Open the link that glotune monitor --web printed: it holds the token.")
        elif asked.path in self.FILES:
            name, kind = self.FILES[asked.path]
            self._send((SHELL / name).read_bytes(), kind, {"Content-Security-Policy": SHELL_POLICY})
        elif asked.path == "/state":
            self._send(json.dumps(self.server.pages.state()).encode(), "application/json")
        elif asked.path == "/report":
            self._report(query["run"][0] if "run" in query else "")
        else:
            self._say(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _is_from_here(self) -> bool:
        """Refuses other names for this address: a page elsewhere could point its own name here (DNS rebinding)."""
        names = self.server.names
        return names is None or urlsplit(f"//{self.headers.get('Host', '')}").hostname in names

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.server.token.encode())

    def _cookie(self) -> str:
        try:
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            return ""
        return cookies[COOKIE].value if COOKIE in cookies else ""

    def _welcome(self) -> None:
        """Moves the token from the address, which browsers remember and show, to a cookie."""
        self.send_response(HTTPStatus.SEE_OTHER)
        self.send_header("Location", "/")
        self.send_header("Set-Cookie", f"{COOKIE}={self.server.token}; HttpOnly; SameSite=Strict; Path=/")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _report(self, key: str) -> None:
        try:
            page = self.server.pages.report(key)
        except UserError as error:
            self._say(HTTPStatus.NOT_FOUND, str(error))
            return
        self._send(page.encode(), "text/html", {"X-Frame-Options": "SAMEORIGIN"})

    def _say(self, status: HTTPStatus, line: str) -> None:
        self._send(line.encode(), "text/plain", status=status)

    def _send(
        self, body: bytes, kind: str, headers: dict[str, str] | None = None, status: HTTPStatus = HTTPStatus.OK
    ) -> None:
        self.send_response(status)
        fixed = {
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }
        for name, value in {**fixed, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the terminal is for people."""


PAGE_SHARE = 0.003
"""Of one core's time: what drawing a page of a run that goes on may take, beside the looks."""
LONGEST = 60.0
"""Seconds after which a page may be drawn anew, whatever it costs."""


@dataclass(frozen=True)
class Drawn:
    """A report page."""

    version: str
    page: str
    stands_until: float
    """While its run goes on, no newer one is drawn before: on the monotonic clock, in seconds."""


class Pages:
    """Pages are made in memory: the run directory is only read. One is drawn at a time, whoever asks."""

    def __init__(self, place: Path) -> None:
        self._fleet = Fleet(place)
        self._pace = Polling()
        self._lock = threading.Lock()
        self._views: list[RunView] = []
        self._runs: list[dict[str, Any]] = []
        self._machine = ""
        self._drawn: dict[Path, Drawn] = {}

    def state(self) -> dict[str, Any]:
        """All runs in a few words, and a version each that changes when its page should be loaded again."""
        with self._lock:
            self._look()
            versions = [{"version": self._version(view)} for view in self._views]
            runs = [run | version for run, version in zip(self._runs, versions, strict=True)]
            return {"runs": runs, "machine": self._machine, "problems": self._fleet.problems}

    def report(self, key: str) -> str:
        """The report page of the run that `state` calls `key`.

        Raises:
            UserError: there is no such run here; no path from outside the place is ever opened.
        """
        with self._lock:
            self._look()
            view = next((view for view in self._views if key_of(view) == key), None)
            if view is None:
                raise UserError(f"there is no run '{key}' here")
            version = self._version(view)
            if view.path not in self._drawn or self._drawn[view.path].version != version:
                self._drawn[view.path] = _draw(view.path, version)
            return self._drawn[view.path].page

    def expire(self) -> None:
        """The next question is answered by a look of its own."""
        self._pace.expire()
        self._fleet.expire()

    def _look(self) -> None:
        """Browsers ask when they like; the files are looked at as often as the pace allows."""
        if self._pace.wait:
            return
        views, machine = self._fleet.look()
        changed = set(map(id, views)) != set(map(id, self._views))
        self._views, self._machine = views, once.machine(machine)
        self._runs = [_in_words(view) for view in views]
        self._pace.looked(changed)

    def _version(self, view: RunView) -> str:
        """Of the page that a browser should show now."""
        drawn = self._drawn.get(view.path)
        waits = drawn is not None and view.state is State.RUNNING and time.monotonic() < drawn.stands_until
        return drawn.version if drawn is not None and waits else version_of(view)


def _draw(path: Path, version: str) -> Drawn:
    begun = time.thread_time()
    data = load_run(path)
    page = render_page([gather(data)], data.name)
    cost = time.thread_time() - begun
    return Drawn(version, page, time.monotonic() + min(cost / PAGE_SHARE, LONGEST))


def key_of(view: RunView) -> str:
    """What a run is called in addresses."""
    return str(view.path)


def version_of(view: RunView) -> str:
    """Changes with every evaluation, notice and change of state, not with every step."""
    evaluations = sum(len(row.values) for row in view.languages)
    return f"{view.state.value}.{view.attempt}.{evaluations}.{len(view.notices)}.{len(view.checkpoints)}.{view.verdict}"


def _in_words(view: RunView) -> dict[str, Any]:
    return {
        "key": key_of(view),
        "name": view.path.name,
        "state": view.state.value,
        "verdict": view.verdict,
        "score": score(once.headline(view)),
        "facts": once.facts(view),
        "alarms": once.alarms(view),
        "share": view.share_done,
    }
