"""A child of a study that has its run ready: ``made_child.py STUDY RUN`` copies it from ``STUDY/../ready``.

``STUDY/behaviour.json`` may say what each run does in its attempts: ``crash`` (a killed process that leaves a run
behind), ``vanish`` (killed before there is one), ``error``, ``mistake`` (the user's), ``diverge``, ``interrupt`` or
``slow``.
"""

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path


def leave_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(75)


def tell(**content: object) -> None:
    print(json.dumps(content), flush=True)


def place_run(ready: Path, path: Path, status: str, reason: str | None) -> None:
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(ready, path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "status": status, "reason": reason}))


def main(study: Path, name: str) -> int:
    threading.Thread(target=leave_with_parent, daemon=True).start()
    with (study / "started.txt").open("a") as file:
        file.write(f"{name}\n")
    attempt = (study / "started.txt").read_text().split().count(name)
    behaviours = study / "behaviour.json"
    plan = json.loads(behaviours.read_text()) if behaviours.exists() else {}
    behaviour = (plan.get(name, []) + [""] * attempt)[attempt - 1]
    ready, path = study.parent / "ready" / name, study / "runs" / name
    match behaviour:
        case "vanish":
            os.kill(os.getpid(), signal.SIGKILL)
        case "mistake":
            tell(error="no such module", kind="UserError")
            return 2
        case "slow":
            tell(stage="train", done=1, total=2)
            time.sleep(60)
        case "crash":
            place_run(ready, path, "running", None)
            os.kill(os.getpid(), signal.SIGKILL)
        case "error":
            place_run(ready, path, "running", None)
            tell(error="the checkpoint is damaged", kind="RunError")
            return 1
        case "diverge":
            place_run(ready, path, "failed", "DivergedTraining: nan")
            tell(error="nan", kind="DivergedTraining")
            return 1
        case "interrupt":
            place_run(ready, path, "interrupted", None)
            return 130
    place_run(ready, path, "complete", None)
    print("a library says something")
    tell(stage="train", done=2, total=2)
    variant, _, seed = name.rpartition("-seed")
    seconds = (20.0 if variant == "good" else 10.0) + int(seed)
    line = {"run": name, "attempt": attempt, "jobs": 1, "train_seconds": seconds, "total_seconds": None, "epochs": 6.0}
    line["trainable_parameters"] = 43_120_899
    with (study / "results.jsonl").open("a") as file:
        file.write(json.dumps({**line, "peak_memory_bytes": 1e9 + int(seed)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
