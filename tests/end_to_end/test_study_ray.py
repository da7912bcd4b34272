"""A study on a real Ray cluster of two nodes, one of which is lost halfway; and what can be wrong with a cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from glotune.evidence.equality import differences
from glotune.recipe import yaml
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.run.trials import read_search, read_trials
from small_runs import small_recipe

pytestmark = pytest.mark.extras
pytest.importorskip("ray", reason="needs the extra 'ray'")

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Iterator[Any]:
    """A head and a second node, 1 CPU each; their cache folder is theirs."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("GLOTUNE_CACHE", str(folder / "cache"))
        made = Cluster(initialize_head=True, head_node_args={**NODE, "ray_client_server_port": free_port()})
        yield made
        made.shutdown()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def write_study(folder: Path, epochs: int = 2) -> Path:
    recipe = small_recipe(folder, rows=48, checkpoints__every=2, train__epochs=epochs)
    content = {
        "name": "made",
        "recipe": recipe.model_dump(mode="json", exclude={"name", "seed"}),
        "variants": {"full": {}},
        "seeds": 3,
        "claims": [],
    }
    path = folder / "made.yaml"
    path.write_text(yaml.dump(content))
    return path


def write_search(folder: Path) -> Path:
    """Of three trials, pruned at epochs 1 and 3, over an encoder that learns what a random one does not."""
    recipe = small_recipe(folder, rows=120, train__epochs=3, model__name="glotune-nano")
    space = {"optimizer.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True}, "train.batch_size": [8, 16]}
    content = {
        "name": "searched",
        "recipe": recipe.model_dump(mode="json", exclude={"name", "seed"}),
        "search": {"space": space, "budget": {"runs": 3}},
        "seeds": 1,
    }
    path = folder / "searched.yaml"
    path.write_text(yaml.dump(content))
    return path


def study(cluster: Any, on: str, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "RAY_ADDRESS": cluster.address, "GLOTUNE_CACHE": "/nonexistent"}
    command = [sys.executable, "-m", "glotune.cli.main", "study", *words, "--on", on]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(found: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def newest_step(run: Path) -> int:
    return max((int(path.name.removeprefix("step-")) for path in run.glob("checkpoints/step-*[0-9]")), default=0)


def run_on(node: Any, out: Path) -> str:
    """The run whose process descends from the node's raylet, where it is on its way (24 steps); else empty."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in raylet.children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            words = process.cmdline()
            if "glotune.study.child" in words and 0 < newest_step(out / "runs" / words[-1]) < 12:
                return words[-1]
    return ""


def test_a_study_outlives_one_of_its_nodes(cluster: Any, folder: Path) -> None:
    from glotune.verbs.train import train

    second = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    out = folder / "study"
    process = study(cluster, "ray", str(write_study(folder, epochs=8)), "--out", str(out))
    lost = until(lambda: run_on(second, out), process)
    cluster.remove_node(second, allow_graceful=False)
    told, errors = process.communicate(timeout=280)
    assert process.returncode == 0, errors[-3000:]
    assert f"{lost} failed and is retried: its node or worker was lost" in errors
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert sorted(line["run"] for line in lines) == [f"full-seed{seed}" for seed in range(3)], "none is repeated"
    assert {line["run"]: line["attempt"] for line in lines}[lost] == 2, "it is gone on with"
    runs = [RunDirectory.open(out / "runs" / f"full-seed{seed}") for seed in range(3)]
    assert {run.read_manifest().status for run in runs} == {RunStatus.COMPLETE}
    assert sum("resumed_from" in event.data for event in RunDirectory.open(out / "runs" / lost).events()) == 1
    assert (out / "report" / "report.html").is_file()
    assert str(out / "report") in told
    assert len(list((folder / "cache" / "tokens").iterdir())) == 3, "the runs of a node share its cache"
    undisturbed = train(out / "recipes" / f"{lost}.yaml", out=folder / "undisturbed", report=False)
    assert differences(undisturbed.directory, RunDirectory.open(out / "runs" / lost)) == []


def test_ctrl_c_lets_the_runs_make_their_checkpoints(cluster: Any, folder: Path) -> None:
    """Through Ray's client, as from a machine outside the cluster."""
    out = folder / "stopped"
    address = f"ray://127.0.0.1:{cluster.head_node._ray_params.ray_client_server_port}"
    process = study(cluster, address, str(write_study(folder, epochs=40)), "--out", str(out))
    until(lambda: any(out.glob("runs/*/checkpoints/step-*")), process)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130, errors
    assert "Go on with it by the same command" in errors
    (run,) = (out / "runs").iterdir()
    assert RunDirectory.open(run).read_manifest().status is RunStatus.INTERRUPTED
    assert not [each for each in psutil.process_iter(["cmdline"]) if str(out) in (each.info["cmdline"] or [])]


def test_a_search_on_a_cluster_is_cut_off_and_gone_on_with(cluster: Any, folder: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra 'search'")
    out, path = folder / "search", str(write_search(folder))
    process = study(cluster, "ray", path, "--out", str(out))
    until(lambda: [trial for trial in read_trials(out / "search") if trial.state != "running"], process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    before = read_trials(out / "search")
    assert 1 <= len(before) < 3
    process = study(cluster, "ray", str(out))
    errors = process.communicate(timeout=280)[1]
    assert process.returncode == 0, errors[-3000:]
    trials = read_trials(out / "search")
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert [trial.values for trial in trials[: len(before)]] == [trial.values for trial in before]
    assert {trial.state for trial in trials} <= {"complete", "pruned"}
    winner = read_search(out / "search").winner  # type: ignore[union-attr]
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert sorted(line["run"] for line in lines) == ["plain-seed0", "winner-seed0"], "both on a fresh seed"
    assert winner in {trial.number for trial in trials if trial.state == "complete"}
    assert (out / "report" / "report.html").is_file()


def test_what_a_node_lacks_is_told_before_the_first_run(cluster: Any, folder: Path) -> None:
    path = str(write_study(folder))
    process = study(cluster, "ray", path, "--out", str(folder / "big"), "--cpus", "64")
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    assert "no node of the cluster has the 64 CPUs" in errors
    assert "Traceback" not in errors


def test_an_address_where_nothing_answers_is_named(cluster: Any, folder: Path) -> None:
    path = write_study(folder)
    for on, words in (
        (f"ray://127.0.0.1:{free_port()}", "no Ray cluster answers at"),
        ("spark", "ray, or ray://HOST:PORT"),
    ):
        process = study(cluster, on, str(path), "--out", str(folder / "none"))
        errors = process.communicate(timeout=60)[1]
        assert process.returncode == 2
        assert words in errors
    assert not (folder / "none").exists()
