"""The server: nothing without the token or from elsewhere, nothing written, a fresh page when the run moves on."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import pytest

from glotune.errors import UserError
from glotune.monitor.web import COOKIE, LONGEST, MonitorServer, Pages
from glotune.run.directory import RunDirectory
from glotune.run.lock import locked
from made_events import event
from made_runs import make_run


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return make_run(tmp_path / "runs" / "made", "running")


@pytest.fixture
def server(run: RunDirectory) -> Iterator[MonitorServer]:
    with MonitorServer(run.path.parent, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: MonitorServer, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def test_nothing_is_told_without_the_token(server: MonitorServer) -> None:
    for path in ("/", "/state", "/report?run=x", "/shell.js", "/?token=wrong", "/../manifest.json"):
        status, _, content = get(server, path)
        assert status == HTTPStatus.FORBIDDEN
        assert "made" not in content
    assert get(server, "/state", Cookie=f"{COOKIE}=wrong")[0] == HTTPStatus.FORBIDDEN
    assert get(server, "/state", Cookie='"; bad')[0] == HTTPStatus.FORBIDDEN


def test_the_link_moves_the_token_into_a_cookie(server: MonitorServer) -> None:
    status, headers, _ = get(server, f"/?token={server.token}")
    assert status == HTTPStatus.SEE_OTHER
    assert headers["location"] == "/"
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=Strict" in headers["set-cookie"]
    cookie = headers["set-cookie"].split(";")[0]
    status, headers, page = get(server, "/", Cookie=cookie)
    assert status == HTTPStatus.OK
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "http" not in page.replace("http-equiv", "")


def test_a_page_elsewhere_cannot_point_its_name_here(server: MonitorServer) -> None:
    cookie = f"{COOKIE}={server.token}"
    assert get(server, "/state", Cookie=cookie, Host="evil.example:80")[0] == HTTPStatus.FORBIDDEN
    assert get(server, "/state", Cookie=cookie, Host="localhost:1")[0] == HTTPStatus.OK


def test_the_report_is_drawn_anew_when_the_run_has_moved_on_and_nothing_is_written(
    server: MonitorServer, run: RunDirectory
) -> None:
    cookie = f"{COOKIE}={server.token}"
    before = sorted(run.path.rglob("*"))
    state = json.loads(get(server, "/state", Cookie=cookie)[2])
    (told,) = state["runs"]
    assert (told["name"], told["state"]) == ("made", "crashed")
    address = f"/report?run={quote(told['key'], safe='')}"
    first = get(server, address, Cookie=cookie)
    assert first[0] == HTTPStatus.OK
    assert "made-running" in first[2]
    assert get(server, address, Cookie=cookie)[2] == first[2]
    server.pages.expire()
    run.append_events([event("evaluation", 80, key="validation/bn", n=10, loss=0.5, macro_f1=0.987654)])
    again = json.loads(get(server, "/state", Cookie=cookie)[2])["runs"][0]
    assert again["version"] != told["version"]
    assert "0.987654" in get(server, address, Cookie=cookie)[2]
    assert sorted(run.path.rglob("*")) == before


def test_the_page_of_a_run_that_goes_on_is_drawn_within_its_share_of_a_core(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = Pages(run.path.parent)
    with locked(run.lock):
        first = pages.state()["runs"][0]
        assert "0.987654" not in pages.report(first["key"])
        run.append_events([event("evaluation", 80, key="validation/bn", n=10, loss=0.5, macro_f1=0.987654)])
        pages.expire()
        soon = pages.state()["runs"][0]
        assert (soon["version"], "step 80" in soon["facts"]) == (first["version"], True), "figures first, page later"
        begun = time.monotonic()
        monkeypatch.setattr("glotune.monitor.web.time.monotonic", lambda: begun + LONGEST + 1)
        assert pages.state()["runs"][0]["version"] != first["version"]
        assert "0.987654" in pages.report(first["key"])
        monkeypatch.undo()
        run.append_events([event("evaluation", 100, key="validation/bn", n=10, loss=0.5, macro_f1=0.123321)])
    pages.expire()
    assert "0.123321" in pages.report(first["key"]), "a run that has ended is shown as it ended, at once"


def test_no_file_outside_the_place_can_be_asked_for(server: MonitorServer, tmp_path: Path) -> None:
    make_run(tmp_path / "secret", "sound")
    cookie = f"{COOKIE}={server.token}"
    for key in (str(tmp_path / "secret"), "../secret", ""):
        assert get(server, f"/report?run={quote(key, safe='')}", Cookie=cookie)[0] == HTTPStatus.NOT_FOUND
    assert get(server, "/manifest.json", Cookie=cookie)[0] == HTTPStatus.NOT_FOUND


def test_a_taken_port_and_a_foreign_address_are_named(server: MonitorServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is taken"):
        MonitorServer(tmp_path, "127.0.0.1", int(server.server_address[1]))
    with pytest.raises(UserError, match="an address of this machine"):
        MonitorServer(tmp_path, "192.0.2.1", 0)
