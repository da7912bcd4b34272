"""C3: dropout off, the numbers do not depend on how many processes share the work."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from glotune.recipe import recipe_yaml
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.verbs.resume import resume
from glotune.verbs.train import train
from small_runs import small_recipe


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def launch(processes: int, recipe: Path, out: Path) -> RunDirectory:
    command = [
        sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--master-addr=127.0.0.1",
        f"--master-port={free_port()}", "-m", "glotune.cli.main", "train", str(recipe), "--out", str(out),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return RunDirectory.open(out)


def losses(run: RunDirectory) -> list[float]:
    return [event.data["loss"] for event in run.events() if event.kind == "step"]


@pytest.mark.extras
@pytest.mark.parametrize("processes", [2, 4])
def test_many_processes_train_as_one(processes: int, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, model__dropout=0.0, loss__label_smoothing=0.1, loss__class_weights="balanced")
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(recipe))
    one = launch(1, path, tmp_path / "one")
    many = launch(processes, path, tmp_path / "many")
    assert many.read_manifest().status is RunStatus.COMPLETE
    assert losses(many) == pytest.approx(losses(one), abs=1e-6)
    assert len(losses(many)) == 8, "one writer, each step once"
    expected, found = one.read_metrics()["test"]["es"], many.read_metrics()["test"]["es"]
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-5)


@pytest.mark.extras
def test_many_processes_learn_from_a_teacher_as_one(tmp_path: Path) -> None:
    train(small_recipe(tmp_path), out=tmp_path / "teacher", report=False)
    (tmp_path / "es.txt").write_text("buena comida\nmala sala\ngente linda\n", encoding="utf-8")
    taught = {"teacher": str(tmp_path / "teacher"), "texts": {"es": str(tmp_path / "es.txt")}}
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_yaml(small_recipe(tmp_path, model__layers=1, model__dropout=0.0, distill=taught)))
    many = launch(2, path, tmp_path / "many")
    assert many.log.read_text().count("asked") == 1, "the main rank asks, the other finds the answers"
    one = launch(1, path, tmp_path / "one")
    assert losses(many) == pytest.approx(losses(one), abs=1e-6)
    assert many.read_teacher_comparison() is not None


@contextmanager
def launched(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A launcher that is gone, with all of its processes, when the block ends."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    try:
        yield process
    finally:
        for each in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            each.kill()
        process.kill()
        process.wait()


def rank_process(launcher: subprocess.Popen[str], rank: int) -> psutil.Process:
    for each in psutil.Process(launcher.pid).children(recursive=True):
        if each.environ().get("RANK") == str(rank):
            return each
    raise LookupError(f"no process of rank {rank}")


def wait_for(condition, launcher: subprocess.Popen[str], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert launcher.poll() is None, "the launcher ended early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.extras
def test_a_killed_rank_stops_all_and_the_run_goes_on_with_another_number(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, model__dropout=0.0, rows=240, train__epochs=40, checkpoints__every=3)
    path, out = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(recipe_yaml(recipe))
    command = ["--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    with launched(*command, "-m", "glotune.cli.main", "train", str(path), "--out", str(out)) as launcher:
        wait_for(lambda: len(list((out / "checkpoints").glob("step-*"))) >= 2, launcher)
        ranks = [rank_process(launcher, rank) for rank in (0, 1)]
        ranks[1].send_signal(signal.SIGKILL)
        assert launcher.wait(90) != 0
        assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)
    run = RunDirectory.open(out)
    stopped = run.read_manifest()
    assert stopped.status in (RunStatus.FAILED, RunStatus.INTERRUPTED), stopped
    assert "process" in str(stopped.reason) or "stop" in str(stopped.reason), stopped.reason

    again = resume(out, report=False)  # one process
    assert again.manifest.status is RunStatus.COMPLETE
    assert any("1 processes instead of 2" in line for line in again.manifest.deviations)
    whole = train(recipe, out=tmp_path / "whole", command=[], report=False)
    assert losses(run) == pytest.approx(losses(whole.directory), abs=1e-4)


@pytest.mark.extras
def test_two_nodes_at_two_addresses_train_as_one(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, model__dropout=0.0)
    path, out = tmp_path / "recipe.yaml", tmp_path / "run"
    path.write_text(recipe_yaml(recipe))
    common = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.2", f"--master-port={free_port()}"]
    tail = ["-m", "glotune.cli.main", "train", str(path), "--out", str(out)]
    with (
        launched(*common, "--node-rank=0", "--local-addr=127.0.0.2", *tail) as first,
        launched(*common, "--node-rank=1", "--local-addr=127.0.0.3", *tail) as second,
    ):
        codes = [node.wait(200) for node in (first, second)]
    assert codes == [0, 0]
    run = RunDirectory.open(out)
    plan = run.read_manifest().plan
    assert plan is not None
    assert plan.ranks == 2
    whole = train(recipe, out=tmp_path / "whole", command=[], report=False)
    assert losses(run) == pytest.approx(losses(whole.directory), abs=1e-6)
