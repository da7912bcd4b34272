"""C4 and C5 in whole runs: what is left out of the compute changes nothing that is learned."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from encoders import TEXTS
from glotune.data.reading import read_texts
from glotune.data.tokenization import tokenize
from glotune.evidence.equality import differences
from glotune.model.loading import load_tokenizer
from glotune.verbs.lifecycle import Run
from glotune.verbs.train import train
from small_runs import small_recipe, write_csv

WORDS = {
    "xlm-roberta": "roberta.embeddings.word_embeddings.weight",
    "bert": "bert.embeddings.word_embeddings.weight",
    "modernbert": "model.embeddings.tok_embeddings.weight",
}
FROZEN: dict[str, Any] = {"encoder_layers": 3, "model__freeze": {"embeddings": True, "layers": 2}}


def losses(run: Run) -> list[float]:
    return [event.data["loss"] for event in run.directory.events() if event.kind == "step"]


@pytest.mark.parametrize("family", WORDS)
def test_rows_that_training_never_sees_are_saved_bit_equal_to_the_source(tmp_path: Path, family: str) -> None:
    other_scripts = [{"text": text, "label": "good"} for text in TEXTS[6:]]
    test = {"bn": str(write_csv(tmp_path / "bn.csv", other_scripts))}
    recipe = small_recipe(tmp_path, family, optimizer={"learning_rate": 1e-2, "weight_decay": 0.5}, data__test=test)
    run = train(recipe, out=tmp_path / "run", report=False)
    source = load_file(Path(recipe.model.name) / "model.safetensors")
    before = next(value for name, value in source.items() if WORDS[family].endswith(name))
    after = load_file(run.path / "model" / "model.safetensors")[WORDS[family]]
    stores = tokenize(read_texts(recipe.data, 0), load_tokenizer(recipe.model), recipe.data, tmp_path / "cache")
    seen = np.zeros(len(before), dtype=bool)
    seen[np.unique(stores["train"].tokens)] = True
    test_only = np.setdiff1d(np.unique(stores["test"].tokens), np.unique(stores["train"].tokens))
    assert after.shape == before.shape
    assert after[~seen].tobytes() == before[~seen].tobytes()
    assert len(test_only) > 0, "some rows are in use, yet never trained"
    assert (after[seen] != before[seen]).any(axis=1).sum() > 10


@pytest.mark.parametrize("overrides", [{}, {"model__freeze": {"embeddings": True}}], ids=["trained", "frozen"])
@pytest.mark.parametrize("family", WORDS)
def test_a_trimmed_run_is_the_full_run(tmp_path: Path, family: str, overrides: dict[str, Any]) -> None:
    recipe = small_recipe(tmp_path, family, model__dropout=0.0, **overrides)
    trimmed = train(recipe, out=tmp_path / "trimmed", report=False)
    full = train(recipe, {"speed.trim_vocabulary": False}, out=tmp_path / "full", report=False)
    assert [change.kind for change in trimmed.manifest.changes if change.kind == "trim_vocabulary"]
    assert losses(trimmed) == pytest.approx(losses(full), abs=1e-6)
    weights = [load_file(run.path / "model" / "model.safetensors") for run in (trimmed, full)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], atol=2e-6, err_msg=name)


def test_a_warm_prefix_store_gives_the_bits_of_a_cold_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_recipe(tmp_path, **FROZEN)
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path / "store"))
    cold = train(recipe, out=tmp_path / "cold", report=False, command=[])
    stores = list((tmp_path / "store").rglob("hidden.bin"))
    written = [path.stat().st_mtime_ns for path in stores]
    warm = train(recipe, out=tmp_path / "warm", report=False, command=[])
    assert len(stores) == 2, "training and validation"
    assert [path.stat().st_mtime_ns for path in stores] == written, "nothing was computed again"
    assert differences(cold.directory, warm.directory) == []


def test_runs_of_other_seeds_share_the_prefix_of_texts_that_each_reads_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(tmp_path, speed__prefix_cache="all", **FROZEN)
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path / "store"))
    first = train(recipe, out=tmp_path / "first", report=False)
    stores = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("hidden.bin")}
    assert len(stores) == 3, "training, validation and test"
    train(recipe, {"seed": 1}, out=tmp_path / "second", report=False)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("hidden.bin")} == stores
    afresh = train(recipe, {"speed.prefix_cache": "off"}, out=tmp_path / "afresh", report=False)
    for language, scores in first.metrics["test"].items():
        assert scores["loss"] == pytest.approx(afresh.metrics["test"][language]["loss"], abs=1e-5)


@pytest.mark.parametrize("family", WORDS)
def test_a_cached_prefix_trains_as_one_computed_afresh(tmp_path: Path, family: str) -> None:
    recipe = small_recipe(tmp_path, family, model__dropout=0.0, **FROZEN)
    cached = train(recipe, out=tmp_path / "cached", report=False)
    afresh = train(recipe, {"speed.prefix_cache": "off"}, out=tmp_path / "afresh", report=False)
    assert losses(cached) == pytest.approx(losses(afresh), abs=1e-5)


@pytest.mark.parametrize("harm", ["truncated", "flipped", "foreign"])
def test_a_damaged_prefix_store_is_rebuilt_never_trusted(
    tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(tmp_path, **FROZEN)
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path / "store"))
    whole = train(recipe, out=tmp_path / "whole", report=False, command=[])
    for path in (tmp_path / "store").rglob("hidden.bin"):
        content = bytearray(path.read_bytes())
        path.chmod(0o644)
        if harm == "truncated":
            path.write_bytes(content[:-100])
        elif harm == "flipped":
            content[len(content) // 2] ^= 0x40
            path.write_bytes(content)
        else:
            path.write_bytes(bytes(len(content)))
    again = train(recipe, out=tmp_path / "again", report=False, command=[])
    found = [line for line in differences(whole.directory, again.directory) if not line.startswith("events")]
    assert found == []
