"""The task for SkyPilot: what was asked for, and every file that the recipe names."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from glotune.cli.main import build_app
from glotune.errors import UserError
from glotune.launch.task import BUCKET, PLACE, Wanted, as_yaml, check, default_bucket, default_name, make_task, pack
from glotune.recipe import Recipe, load_recipe


def wanted(**choices: Any) -> Wanted:
    return Wanted(**{"name": "humor", "infra": "aws", "bucket": "glotune-me", **choices})


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    for name in ("en.csv", "bn.csv", "dev.csv"):
        (tmp_path / name).write_text("text,label\nlovely,good\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "hi.csv").write_text("text,label\nlovely,good\n")
    return load_recipe(
        Recipe.model_validate(
            {
                "name": "humor",
                "model": {"name": "FacebookAI/xlm-roberta-base"},
                "data": {
                    "train": {"en": [str(tmp_path / "en.csv"), "cardiffnlp/tweet_sentiment_multilingual:english"]},
                    "validation": str(tmp_path / "en.csv"),
                    "test": {"bn": str(tmp_path / "bn.csv"), "hi": str(tmp_path / "more")},
                },
                "track": ["wandb"],
            }
        )
    )


def test_files_go_along_once_and_keep_their_names(recipe: Recipe, tmp_path: Path) -> None:
    remote, mounts = pack(recipe)
    assert mounts == {
        f"{PLACE}/files/0/en.csv": str(tmp_path / "en.csv"),
        f"{PLACE}/files/1/bn.csv": str(tmp_path / "bn.csv"),
        f"{PLACE}/files/2/more": str(tmp_path / "more"),
    }
    assert remote.data.train == {"en": ["files/0/en.csv", "cardiffnlp/tweet_sentiment_multilingual:english"]}
    assert remote.data.validation == "files/0/en.csv"
    assert remote.model.name == "FacebookAI/xlm-roberta-base"
    assert remote.optimizer == recipe.optimizer


def test_the_task_says_what_was_asked_for(recipe: Recipe) -> None:
    task = make_task(recipe, wanted(gpus="H100:2", spot=True, max_hourly_cost=6.5, infra="gcp/us-central1"))
    assert task["resources"] == {
        "infra": "gcp/us-central1", "accelerators": "H100:2", "disk_size": 100, "use_spot": True,
        "max_hourly_cost": 6.5, "autostop": {"idle_minutes": 10, "down": True},
    }  # fmt: skip
    assert task["file_mounts"][BUCKET] == {"name": "glotune-me", "store": "gcs", "mode": "MOUNT", "persistent": True}
    assert "--processes 2" in task["run"]
    assert "'glotune[wandb]==" in task["setup"]
    again = yaml.safe_load(as_yaml(task))
    assert again == task


def test_the_recipe_in_the_setup_is_the_recipe(recipe: Recipe, tmp_path: Path) -> None:
    setup = make_task(recipe, wanted())["setup"]
    script = setup[setup.index("mkdir -p") :].replace("~", str(tmp_path / "there"))
    subprocess.run(["bash", "-e", "-c", script], check=True)
    there = tmp_path / "there" / "glotune-job"
    for place, here in pack(recipe)[1].items():
        target = Path(place.replace("~", str(tmp_path / "there")))
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if Path(here).is_dir() else shutil.copyfile)(here, target)
    arrived = load_recipe(there / "recipe.yaml")
    assert arrived.data.validation == str(there / "files/0/en.csv")
    assert arrived.model_copy(update={"data": recipe.data}) == recipe


def test_a_bucket_by_address_and_a_wheel_of_this_machine(recipe: Recipe, tmp_path: Path) -> None:
    wheel = tmp_path / "glotune-9-py3-none-any.whl"
    wheel.write_bytes(b"")
    task = make_task(recipe, wanted(infra="k8s", bucket="s3://mine/runs", package=str(wheel)))
    assert task["file_mounts"][BUCKET] == {"source": "s3://mine/runs", "mode": "MOUNT"}
    assert task["file_mounts"][f"{PLACE}/wheel/{wheel.name}"] == str(wheel)
    assert f"{PLACE}/wheel/{wheel.name}[wandb]" in task["setup"]
    assert task["resources"]["cpus"] == "4+"


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ({"infra": "asw"}, "Did you mean 'aws'"),
        ({"infra": "azure"}, "one of aws, gcp, k8s, ssh"),
        ({"name": "Hu_mor"}, "small letters"),
        ({"gpus": "8"}, "H100:1"),
        ({"gpus": "H100:0"}, "H100:1"),
        ({"infra": "ssh/lab", "spot": True, "bucket": "s3://x"}, "no --spot with ssh"),
        ({"max_hourly_cost": 0}, "above 0"),
        ({"infra": "k8s"}, "an address, e.g. s3://my-bucket"),
        ({"bucket": "ftp://x"}, "s3://NAME or gs://NAME"),
    ],
)
def test_what_no_machine_could_be_found_for_is_refused_by_its_option(choices: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match="--") as caught:
        check(wanted(**choices))
    assert expected in str(caught.value)


def test_a_file_that_is_not_here_is_refused_before_anything_costs_money(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "bn.csv").unlink()
    with pytest.raises(UserError, match=r"bn\.csv"):
        make_task(recipe, wanted())


@pytest.mark.parametrize(
    "keys",
    [
        {"data.unlabelled": {"bn": "more.bn.txt"}, "self_training.rounds": 1},
        {"data.augment.code_switch.lexicons": {"bn": "nowhere/words.txt"}},
        {"data.augment.code_switch.pairs": {"bn": ["pairs.csv"]}},
        {"data.columns.id": "id", "data.augment.back_translations": "again.csv"},
        {"distill.teacher": "teacher", "distill.texts": {"en": "more.txt"}},
        {"data.columns.id": "id", "data.translations": {"bn": "translated.csv"}},
    ],
    ids=lambda keys: list(keys)[-1],
)
def test_every_key_that_names_a_file_which_is_not_here_is_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher").mkdir()
    with pytest.raises(UserError, match=r"there is no file (more|nowhere|pairs|again|translated)"):
        make_task(load_recipe(recipe, keys), wanted())


def test_dictionaries_are_brought_along(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("good bhalo\n", encoding="utf-8")
    (tmp_path / "pairs.csv").write_text("en,bn\ngood,bhalo\n", encoding="utf-8")
    switch = {"lexicons": {"bn": str(tmp_path / "words.txt")}, "pairs": {"bn": [str(tmp_path / "pairs.csv")]}}
    remote, mounts = pack(load_recipe(recipe, {"data.augment.code_switch": switch}))
    found = remote.model_dump(mode="json")["data"]["augment"]["code_switch"]
    there = [found["lexicons"]["bn"], *found["pairs"]["bn"]]
    assert [mounts[f"{PLACE}/{name}"] for name in there] == [
        str(tmp_path / name) for name in ("words.txt", "pairs.csv")
    ]


def test_a_teacher_and_its_unlabelled_texts_are_brought_along(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "more.txt").write_text("good food\n", encoding="utf-8")
    named = {"distill.teacher": str(tmp_path / "teacher"), "distill.texts": {"en": str(tmp_path / "more.txt")}}
    with pytest.raises(UserError, match="there is no folder nowhere"):
        pack(load_recipe(recipe, named, {"distill.teacher": "nowhere"}))
    remote, mounts = pack(load_recipe(recipe, named))
    assert remote.distill is not None
    assert remote.distill.texts is not None
    there = [*remote.distill.teacher, remote.distill.texts["en"]]  # type: ignore[call-overload]
    assert [mounts[f"{PLACE}/{name}"] for name in there] == [str(tmp_path / name) for name in ("teacher", "more.txt")]


def test_a_dry_run_prints_the_task_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    arguments = ["launch", "quickstart", "train.epochs=2", "--infra", "aws", "--gpus", "L4:1", "--dry-run"]
    done = CliRunner().invoke(build_app("launch"), arguments)
    assert done.exit_code == 0, done.output
    task = yaml.safe_load(done.stdout)
    assert task["resources"]["accelerators"] == "L4:1"
    assert "epochs: 2" in task["setup"]
    assert list(tmp_path.iterdir()) == []


def test_names_fit_every_cloud() -> None:
    for recipe in ("humor-v2", "1_Big.Recipe", "x" * 100, "ÄÖ"):
        check(wanted(name=default_name(recipe), bucket=default_bucket()))


def test_a_pipe_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "en.csv.pipe")
    with pytest.raises(UserError, match="is a pipe, which another machine can't read"):
        pack(load_recipe(recipe, {"data.train": {"en": str(tmp_path / "en.csv.pipe")}}))


def test_two_jobs_of_one_minute_have_names_of_their_own() -> None:
    assert len({default_name("x" * 100) for _ in range(20)}) == 20


def test_a_user_without_an_entry_in_the_password_file_has_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", unknown)
    check(wanted(name=default_name("toy"), bucket=default_bucket()))
