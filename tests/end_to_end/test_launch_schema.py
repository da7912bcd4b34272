"""Tasks against the schema and the reader that SkyPilot's own package carries, in SkyPilot's own environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glotune.launch.task import Wanted, as_yaml, make_task
from glotune.recipe import load_recipe

pytestmark = pytest.mark.extras

VALIDATE = """
import sys, yaml
from sky.utils import schemas, common_utils
import sky
for path in sys.argv[1:]:
    task = yaml.safe_load(open(path))
    common_utils.validate_schema(task, schemas.get_task_schema(), "task: ")
    common_utils.validate_schema(task["resources"], schemas.get_resources_schema(), "resources: ")
    mounts = task["file_mounts"]
    common_utils.validate_schema(mounts["/glotune-bucket"], schemas.get_storage_schema(), "storage: ")
    resources = sky.Resources.from_yaml_config(task["resources"])
    print("valid", [str(each.accelerators) for each in resources])
"""


def interpreter() -> str:
    """Of the environment that SkyPilot's command lives in."""
    command = shutil.which(os.environ.get("GLOTUNE_SKY") or "sky")
    if command is None:
        pytest.skip("needs SkyPilot's command, on the path or in GLOTUNE_SKY")
    return Path(command).read_text(errors="ignore").splitlines()[0].removeprefix("#!")


def tasks(folder: Path) -> list[Path]:
    choices: list[dict[str, Any]] = [
        {"infra": "aws", "gpus": "H100:1", "spot": True, "max_hourly_cost": 3.5},
        {"infra": "gcp/us-central1", "gpus": "L4:2"},
        {"infra": "k8s/my-context", "bucket": "s3://mine/runs", "cpus": "8+", "memory": "32+"},
        {"infra": "ssh/lab", "bucket": "gs://mine"},
    ]
    found = []
    for number, choice in enumerate(choices):
        wanted = Wanted(**{"name": f"job-{number}", "bucket": "glotune-me", **choice})
        path = folder / f"{number}.yaml"
        path.write_text(as_yaml(make_task(load_recipe("quickstart"), wanted)))
        found.append(path)
    return found


def validate(*paths: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "HOME": str(paths[0].parent)}
    return subprocess.run(
        [interpreter(), "-c", VALIDATE, *map(str, paths)], env=environment, capture_output=True, text=True, check=False
    )


def test_every_task_is_valid(tmp_path: Path) -> None:
    done = validate(*tasks(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("valid") == 4


def test_a_wrong_task_is_not(tmp_path: Path) -> None:
    path = tasks(tmp_path)[0]
    path.write_text(path.read_text().replace("use_spot: true", "use_spot: often"))
    done = validate(path)
    assert done.returncode != 0
    assert "use_spot" in done.stderr
