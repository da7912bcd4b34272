"""`python3 benchmarks/gpu/bare.py WHEELS`: the GPU benchmark where torch and transformers are, and no network is.

Of the packages in ``wheels.txt``, those that the machine lacks are unpacked from a folder of wheels (`make gpu-wheels`)
into a temporary one; nothing is installed, and nothing is left behind. Runs with the standard library alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

LIST = Path(__file__).with_name("wheels.txt")
ROOT = LIST.parents[2]


def needed() -> list[str]:
    """Names of the packages in the list."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [line.partition("==")[0] for line in lines if line and not line.startswith("#")]


def lacking(names: Sequence[str]) -> list[str]:
    """Those that are not installed here."""
    return [name for name in names if not any(True for _ in metadata.distributions(name=name))]


def unpack(names: Sequence[str], wheels: Path, into: Path) -> None:
    """Unpacks one wheel for each name.

    Raises:
        SystemExit: there is none, or it is for another Python.
    """
    found = {_plain(path.name.split("-")[0]): path for path in sorted(wheels.glob("*.whl"))}
    absent = [name for name in names if _plain(name) not in found]
    if absent:
        sys.exit(f"{wheels} has no wheel of {', '.join(absent)}, which this machine lacks: `make gpu-wheels`")
    for name in names:
        path = found[_plain(name)]
        python, abi, _ = path.stem.split("-")[-3:]
        here = f"cp{sys.version_info.major}{sys.version_info.minor}"
        if python.startswith("cp") and abi != "abi3" and here not in python.split("."):
            sys.exit(f"{path.name} is not for this Python: `make gpu-wheels GPU_PYTHON={here[2]}.{here[3:]}`")
        with zipfile.ZipFile(path) as wheel:
            wheel.extractall(into)


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def main(wheels: str, *arguments: str) -> int:
    """Runs the benchmark with what is unpacked; returns its exit code."""
    missing = lacking(needed())
    with tempfile.TemporaryDirectory(prefix="glotune-wheels-") as folder:
        unpack(missing, Path(wheels), Path(folder))
        print(f"from {wheels}: {', '.join(missing) or 'nothing is lacking here'}", flush=True)
        path = [str(ROOT / "src"), str(ROOT), folder, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "HF_HUB_OFFLINE": "1"}
        return subprocess.run(
            [sys.executable, "-m", "benchmarks", "gpu", *arguments], env=environment, cwd=ROOT, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 1 else __doc__)
