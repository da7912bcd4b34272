"""What a cluster is asked and what a node does, without Ray; the real one is in end_to_end/test_study_ray.py."""

from __future__ import annotations

import socket
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from glotune.errors import MissingExtra, UserError
from glotune.study import on_ray, ray_node
from glotune.study.directory import StudyDirectory
from glotune.study.ray_node import Errand

CHILD = """
import json, os, sys
print("a library says something")
print(json.dumps({"stage": "train", "done": 1, "total": 2}), flush=True)
print(json.dumps([os.getcwd(), os.environ["OMP_NUM_THREADS"]]))
print("the last words", file=sys.stderr)
if sys.argv[2] == "bad":
    print(json.dumps({"error": "no such column", "kind": "UserError"}))
    sys.exit(2)
"""


@pytest.fixture
def errand(tmp_path: Path) -> Errand:
    directory = StudyDirectory(tmp_path / "study")
    directory.create()
    (directory.logs / ".cluster").write_text("mark")
    return Errand(
        str(directory.path), "mark", str(tmp_path), metadata.version("glotune"), ("-c", CHILD), 3, 1, 1.0
    )  # fmt: skip


def test_a_missing_extra_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'glotune\[ray\]'"), on_ray.connected("ray"):
        pass


@pytest.mark.parametrize("address", ["spark", "ray:", "ray://", "ray://host:port", "http://host:10001"])
def test_another_kind_of_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"ray://HOST:PORT"):
        on_ray._reachable(address)


def test_an_address_where_nothing_listens_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UserError, match="no Ray cluster answers at"):
            on_ray._reachable(f"ray://127.0.0.1:{taken.getsockname()[1]}")
        taken.listen()
        port = taken.getsockname()[1]
        assert on_ray._reachable(f"ray://127.0.0.1:{port}/") == f"ray://127.0.0.1:{port}"
    assert on_ray._reachable("ray") == "auto"
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(UserError, match="this machine belongs to no Ray cluster"):
        on_ray._reachable("ray")


def test_runs_go_where_there_is_room() -> None:
    nodes: list[dict[str, Any]] = [{"Resources": {"CPU": 4.0}}, {"Resources": {"CPU": 16.0, "GPU": 2.0}}]
    assert max(on_ray._runs_by_node(nodes, 1, 0)) == 16
    assert max(on_ray._runs_by_node(nodes, 4, 1)) == 2
    assert max(on_ray._runs_by_node(nodes, 4, 0.5)) == 4
    with pytest.raises(UserError, match="no node of the cluster has the 4 CPUs and 4 GPUs of a run"):
        on_ray._runs_by_node(nodes, 4, 4)


def test_a_node_carries_a_run_out_and_tells_its_lines(errand: Errand) -> None:
    told: list[Any] = []
    found = ray_node.carry(errand, "good", lambda run, content: told.append((run, content)))
    assert found == {"code": 0, "error": "", "kind": "", "last_words": "the last words"}
    assert told == [
        ("good", {"started": socket.gethostname()}),
        ("good", {"stage": "train", "done": 1, "total": 2}),
    ]
    bad = ray_node.carry(errand, "bad", lambda run, content: None)
    assert bad == {"code": 2, "error": "no such column", "kind": "UserError", "last_words": "the last words"}


def test_a_cancelled_run_may_make_its_checkpoint(errand: Errand, tmp_path: Path) -> None:
    code = (
        "import json, signal, sys, time\n"
        "def leave(number, frame):\n"
        f"    open({str(tmp_path / 'checkpoint')!r}, 'w').close()\n"
        "    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        "print(json.dumps({'stage': 'train', 'done': 1, 'total': 2}), flush=True)\n"
        "time.sleep(60)\n"
    )

    def tell(run: str, content: dict[str, Any]) -> None:
        if "stage" in content:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ray_node.carry(replace(errand, child=("-c", code), grace_seconds=30.0), "run", tell)
    assert (tmp_path / "checkpoint").exists()


def test_an_unfit_node_says_why(errand: Errand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_node, "NOT_SEEN_SECONDS", 0.0)
    assert ray_node.unfit(errand) is None
    assert "does not see the study's folder" in str(ray_node.unfit(replace(errand, study="/elsewhere")))
    assert "does not see the study's folder" in str(ray_node.unfit(replace(errand, mark="another folder")))
    assert "in which the study was started" in str(ray_node.unfit(replace(errand, folder="/elsewhere")))
    assert "has glotune" in str(ray_node.unfit(replace(errand, version="0.0")))
    refused = ray_node.carry(replace(errand, version="0.0"), "run", lambda run, content: None)
    assert refused["kind"] == "UserError"


def test_what_travels_to_a_node_needs_the_standard_library_alone() -> None:
    source = Path(ray_node.__file__).read_text(encoding="utf-8")
    imported = {
        line.split()[1].partition(".")[0] for line in source.splitlines() if line.startswith(("import", "from"))
    }
    assert imported - {"__future__"} <= set(sys.stdlib_module_names)
