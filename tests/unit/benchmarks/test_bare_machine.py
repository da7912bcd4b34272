"""The GPU benchmark on a machine that has torch and transformers, and no network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest
from benchmarks.gpu import bare
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
CARRIED = ("annotated-types", "psutil", "pydantic", "pydantic_core", "typing-inspection")


def test_what_is_carried_is_what_the_suite_runs_with() -> None:
    """One list, one lock, one target that downloads it."""
    pins = bare.LIST.read_text(encoding="utf-8").splitlines()
    locked = {line.lower().replace("_", "-") for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert {line.lower().replace("_", "-") for line in pins if not line.startswith("#")} <= locked
    assert len(bare.needed()) == len(set(bare.needed())) >= len(CARRIED)
    assert set(CARRIED) <= set(bare.needed())
    made = subprocess.run(["make", "--dry-run", "gpu-wheels"], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "-r benchmarks/gpu/wheels.txt" in made.stdout
    assert bare.lacking(["torch", "no-such-package"]) == ["no-such-package"]
    assert bare.lacking(bare.needed()) == []


def test_what_cant_be_unpacked_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no wheel of psutil, pydantic_core, which this machine lacks"):
        bare.unpack(["psutil", "pydantic_core"], tmp_path, tmp_path / "into")
    for name in ("psutil-7-cp36-abi3-manylinux_2_17_x86_64.whl", "pydantic_core-2-cp39-cp39-linux_x86_64.whl"):
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr(f"{name.split('-')[0]}/__init__.py", "")
    bare.unpack(["psutil"], tmp_path, tmp_path / "into")
    assert (tmp_path / "into" / "psutil" / "__init__.py").exists()
    with pytest.raises(SystemExit, match=r"is not for this Python: `make gpu-wheels GPU_PYTHON=3\.\d+`"):
        bare.unpack(["pydantic-core"], tmp_path, tmp_path / "into")


@pytest.mark.extras
def test_it_runs_through_with_nothing_but_the_carried_wheels(tmp_path: Path) -> None:
    """In an environment of links to torch, transformers, what they need, and those of the list that are not carried."""
    there = with_needs(["torch", "transformers", *(set(bare.needed()) - set(CARRIED))]) - set(map(plain, CARRIED))
    there |= {plain(name) for name in set(bare.needed()) - set(CARRIED)}
    site, wheels = tmp_path / "site", tmp_path / "wheels"
    site.mkdir()
    wheels.mkdir()
    for name in there:
        found = metadata.distribution(name)
        for top in {path.parts[0] for path in found.files or []} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    for name in CARRIED:
        pack(metadata.distribution(name), wheels)
    command = [sys.executable, "-S", "-c", RUN, str(wheels)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), str(site)])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"from {wheels}: " in done.stdout
    assert all(name in done.stdout.splitlines()[0] for name in CARRIED)
    assert "at most" in next(line for line in done.stdout.splitlines() if line.startswith("losses of"))


RUN = """
import subprocess, sys
from benchmarks.gpu import bare

own = subprocess.run

def without_site(command, **named):
    lines = "from benchmarks.gpu import report; import benchmarks.__main__; "
    lines += "[print(line) for line in report.lines(tiny=True, seconds=-1.0)]"
    return own([command[0], "-S", "-c", lines], **named)

subprocess.run = without_site
sys.exit(bare.main(sys.argv[1]))
"""


def plain(name: str) -> str:
    return name.lower().replace("_", "-")


def with_needs(roots: Iterable[str]) -> set[str]:
    """The packages and all that they need."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = plain(waiting.pop())
        try:
            needs = [] if name in found else metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [
            each.name for each in map(Requirement, needs) if each.marker is None or each.marker.evaluate({"extra": ""})
        ]
    return found


def pack(found: metadata.Distribution, folder: Path) -> None:
    """A wheel of what is installed."""
    name = found.metadata["Name"].replace("-", "_")
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    with zipfile.ZipFile(folder / f"{name}-{found.version}-{here}-{here}-linux_x86_64.whl", "w") as wheel:
        for path in found.files or []:
            if ".." not in path.parts and "__pycache__" not in path.parts:
                wheel.write(Path(str(found.locate_file(path))), str(path))
