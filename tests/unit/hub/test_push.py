"""`glotune push` with the Hub's real client against a stand-in on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glotune.run.directory import RunDirectory
from glotune.run.records import Change
from hub_stand_in import HubStandIn, Repository, hub
from made_runs import make_run


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A finished run with a model, an adapter and everything else."""
    run = make_run(tmp_path / "run", "sound")
    for folder, name in ((run.model, "model.safetensors"), (run.adapter, "adapter_model.safetensors")):
        folder.mkdir()
        (folder / name).write_bytes(os.urandom(5000))
    (run.model / "config.json").write_text(json.dumps({"model_type": "xlm-roberta", "_name_or_path": "/home/ada/m"}))
    (run.model / "tokenizer.json").write_text("{}")
    (run.model / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 128}))
    (run.adapter / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": "/home/ada/m"}))
    (run.adapter / "base_config.json").write_text(json.dumps({"_name_or_path": "/home/ada/m", "id2label": {"0": "a"}}))
    (run.adapter / "README.md").write_text("PEFT's template")
    (run.checkpoints / "step-00000120").mkdir(parents=True)
    (run.checkpoints / "step-00000120" / "weights.safetensors").write_bytes(b"w" * 100)
    (run.report / "figures").mkdir(parents=True)
    (run.report / "figures" / "losses.png").write_bytes(b"\x89PNG" + os.urandom(100))
    (run.report / "report.md").write_text("# r\n")
    run.log.write_text("log\n")
    return run


@pytest.fixture
def server() -> Iterator[HubStandIn]:
    with hub() as server:
        yield server


def push(run: RunDirectory, endpoint: str, *arguments: str, token: str | None = "hf_right", to: str = "ada/humor"):
    environment = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(run.path.parent / "hf"), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    if token:
        environment["HF_TOKEN"] = token
    program = "import sys; from glotune.cli.main import run; run()"
    command = [sys.executable, "-c", program, "push", str(run.path), to, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_one_commit_makes_a_private_repository_with_everything_in_it(run: RunDirectory, server: HubStandIn) -> None:
    done = push(run, server.url)
    assert done.returncode == 0, done.stderr
    assert "(private), commit " in done.stdout
    stored = server.repositories["ada/humor"]
    assert stored.private
    assert stored.commits == 1
    assert set(stored.files) == {
        "README.md", "recipe.yaml", "metrics.json", "config.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "figures/losses.png",
    }  # fmt: skip
    assert stored.files["model.safetensors"] == (run.model / "model.safetensors").read_bytes()
    assert json.loads(stored.files["config.json"])["_name_or_path"] == "FacebookAI/xlm-roberta-base"
    assert b"![losses](figures/losses.png)" in stored.files["README.md"]
    assert all(b"/home/ada" not in content for content in stored.files.values())


@pytest.mark.extras
def test_pushed_again_it_updates_and_keeps_the_visibility(run: RunDirectory, server: HubStandIn) -> None:
    server.repositories["ada/humor"] = Repository(private=False)
    done = push(run, server.url)
    assert done.returncode == 0, done.stderr
    assert "exists already and is public: it stays so" in done.stderr
    assert "(public)" in done.stdout
    assert push(run, server.url, "--public").returncode == 0
    assert server.repositories["ada/humor"].commits == 2


@pytest.mark.extras
def test_public_checkpoints_and_logs_only_when_asked(run: RunDirectory, server: HubStandIn) -> None:
    done = push(run, server.url, "--public", "--checkpoints", "--logs")
    assert done.returncode == 0, done.stderr
    stored = server.repositories["ada/humor"]
    assert not stored.private
    assert {
        "checkpoints/step-00000120/weights.safetensors",
        "logs/events.jsonl",
        "logs/log.txt",
        "report/report.md",
    } <= set(stored.files)


@pytest.mark.extras
def test_an_adapter_goes_with_its_tokenizer_and_a_base_that_others_can_load(
    run: RunDirectory, server: HubStandIn
) -> None:
    refused = push(run, server.url, "--adapter")
    assert refused.returncode == 2, "its encoder lost layers"
    assert "nobody else could load it" in refused.stderr
    kept: list[Change] = [change for change in run.read_manifest().changes if change.kind != "truncate"]
    run.update_manifest(changes=kept)
    done = push(run, server.url, "--adapter")
    assert done.returncode == 0, done.stderr
    files = server.repositories["ada/humor"].files
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= set(files)
    assert "model.safetensors" not in files
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "FacebookAI/xlm-roberta-base"
    assert b"library_name: peft" in files["README.md"], "the card, not the template that PEFT leaves in the adapter"
    labels = dict(enumerate(run.read_manifest().labels))
    assert f'from_pretrained("ada/humor", id2label={labels})' in files["README.md"].decode()
    assert json.loads(files["base_config.json"]) == {
        "_name_or_path": "FacebookAI/xlm-roberta-base",
        "id2label": {"0": "a"},
    }


@pytest.mark.extras
def test_a_dry_run_needs_neither_hub_nor_credentials_and_shows_files_and_card(run: RunDirectory) -> None:
    done = push(run, "http://127.0.0.1:9", "--dry-run", token=None)
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" in done.stdout
    assert "model-index:" in done.stdout
    assert "would go to ada/humor (private if it is new)" in done.stderr


@pytest.mark.extras
def test_mistakes_and_outages_are_one_line_each(run: RunDirectory, server: HubStandIn, tmp_path: Path) -> None:
    before = sorted(path for path in run.path.rglob("*"))
    cases = [
        (push(run, server.url, token=None), 2, "hf auth login"),
        (push(run, server.url, token="hf_wrong"), 2, "does not let these credentials write"),
        (push(run, server.url, to="humor"), 2, "USER/NAME"),
        (push(run, server.url, to="ada/hum or"), 2, "USER/NAME"),
        (push(run, "http://127.0.0.1:9"), 1, "can't be reached"),
        (push(make_run(tmp_path / "other", "sound"), server.url), 1, "holds no saved model"),
    ]
    server.refuse_commit = 400
    cases.append((push(run, server.url), 1, "the Hub refused"))
    server.card_errors = [{"message": "the licence is unknown"}]
    cases.append((push(run, server.url), 1, "the licence is unknown"))
    for done, code, line in cases:
        assert line in done.stderr
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    assert sorted(path for path in run.path.rglob("*")) == before
