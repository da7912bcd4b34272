"""C3: dropout off, the numbers do not depend on how many processes share the work."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from glotune.recipe import recipe_yaml
from glotune.records import RunStatus
from glotune.run_dir import RunDirectory
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


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.extras)])
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
