"""An encoder taught by another, from recipe to saved student; each mistake is refused before there is a run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from encoders import PACKED_FAMILIES, make_encoder
from glotune.cli.main import run as run_cli
from glotune.data.cache import cache_folder
from glotune.data.plain_text import read_plain_texts
from glotune.engine.observer import Silent
from glotune.engine.processes import Processes
from glotune.engine.recorder import Recorder
from glotune.errors import UserError
from glotune.recipe.loading import recipe_hash, recipe_yaml
from glotune.recipe.pretrain import PretrainRecipe
from glotune.run.directory import RunDirectory
from glotune.tasks.corpus import as_text_data
from glotune.verbs import sentence_teacher
from glotune.verbs.pretrain import pretrain, resume_pretraining
from glotune.verbs.sentence_teacher import different_texts, open_sentence_teacher
from made_pairs import pairs, scratch_recipe, write


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path / "cache"))


def taught_recipe(folder: Path, teacher: Mapping[str, Any] | None = None, **changes: Any) -> PretrainRecipe:
    """A student of 32 from scratch, a teacher of 48 with a WordPiece tokenizer."""
    place = folder / "teacher"
    if not place.exists():
        make_encoder(place, "bert", hidden=48, texts=[row["text"] for row in pairs("aa", 200)])
    objective = {"masked_lm": 0.0, "contrastive": 0.0, "pooling": "first", **changes.pop("objective", {})}
    spec = {"name": str(place), "max_length": 64, **(teacher or {})}
    return scratch_recipe(folder, teacher=spec, objective=objective, **changes)


# ---- what the teacher is asked --------------------------------------------------------------------------


@pytest.mark.parametrize("family", PACKED_FAMILIES)
@pytest.mark.parametrize(("pooling", "prefix"), [("mean", ""), ("first", ""), ("mean", "query: ")])
def test_its_vectors_are_those_of_the_plain_library(tmp_path: Path, family: str, pooling: str, prefix: str) -> None:
    folder = make_encoder(tmp_path / "teacher", family, hidden=48)
    recipe = taught_recipe(tmp_path, {"pooling": pooling, "prefix": prefix})
    texts = read_plain_texts(recipe.data, from_scratch=True, seed=recipe.seed)
    splits = as_text_data(texts).splits
    different, places = different_texts(splits, prefix, {})
    teacher = open_sentence_teacher(recipe)
    assert teacher is not None
    (tmp_path / "run").mkdir()
    recorder = Recorder(RunDirectory(tmp_path / "run"), Silent(), 1, is_main=True)
    vectors = teacher._vectors(recipe, different, cache_folder(), Processes.start("cpu"), recorder)
    own = splits["train"].table["text"].to_pylist()
    assert len(vectors) == len({*own, *splits["validation"].table["text"].to_pylist()})
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    for row in (0, 5, len(own) - 1):
        batch = tokenizer([prefix + own[row]], return_tensors="pt")
        with torch.no_grad():
            hidden = model(**batch).last_hidden_state[0]
        pooled = hidden.mean(dim=0) if pooling == "mean" else hidden[0]
        expected = torch.nn.functional.normalize(pooled, dim=0)
        assert np.allclose(vectors[places["train"][row]], expected, atol=1e-5)


def test_it_is_asked_once_and_its_answers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = taught_recipe(tmp_path, train={"epochs": 1})
    first = pretrain(recipe, out=tmp_path / "first")
    assert "asked" in first.directory.log.read_text()

    def refuse(spec: object) -> None:
        raise AssertionError("opened again")

    monkeypatch.setattr(sentence_teacher, "open_encoder", refuse)
    again = pretrain(recipe.model_copy(update={"seed": 0, "name": "other"}), out=tmp_path / "again")
    assert "are in the cache" in again.directory.log.read_text()


# ---- what a student is ----------------------------------------------------------------------------------


def test_the_student_comes_near_its_teacher_and_finds_translations(tmp_path: Path) -> None:
    recipe = taught_recipe(tmp_path, train={"epochs": 6})
    run = pretrain(recipe, out=tmp_path / "run")
    figures = run.metrics["validation"]
    assert recipe.chooses_by == "retrieval"
    assert np.mean([figures[name]["recall_at_1"] for name in ("aa", "bb")]) > 0.3, "chance is 0.1"
    cosines = [event.data["teacher_cosine"] for event in run.directory.events() if event.key == "validation/aa"]
    assert cosines[0] < 0.1 < cosines[-1]
    assert all(figures[name]["teacher_cosine"] > 0.1 for name in ("aa", "bb", "en"))
    assert figures["aa"]["masked_loss"] is None
    report = (run.path / "report" / "report.md").read_text()
    assert "cosine with the teacher" in report
    assert "- teacher:" in report
    model, info = AutoModelForMaskedLM.from_pretrained(run.path / "model", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"], "nothing of the teacher is in it"
    assert model.config.hidden_size == 32
    assert run.manifest.distillation is not None
    assert run.manifest.distillation.teachers[0].name == str(tmp_path / "teacher")


def test_the_first_layers_of_an_encoder_are_a_student(tmp_path: Path) -> None:
    taught_recipe(tmp_path)
    teacher = str(tmp_path / "teacher")
    recipe = taught_recipe(tmp_path, model={"scratch": None, "name": teacher, "layers": 1}, train={"epochs": 1})
    run = pretrain(recipe, out=tmp_path / "run")
    assert "first 1 of 2 layers kept" in run.manifest.changes[0].description
    assert AutoModel.from_pretrained(run.path / "model").config.num_hidden_layers == 1


def test_what_is_saved_lies_between_what_was_there_and_what_was_trained(tmp_path: Path) -> None:
    taught_recipe(tmp_path)
    start = make_encoder(tmp_path / "start", "xlm-roberta", hidden=32)
    weights = []
    for number, share in enumerate((0.0, 0.25)):
        model = {"scratch": None, "name": str(start), "new_pieces": 4, "interpolate": share}
        recipe = taught_recipe(tmp_path, model=model, train={"epochs": 1})
        run = pretrain(recipe, out=tmp_path / f"run-{number}")
        weights.append(load_file(run.path / "model" / "model.safetensors"))
    trained, mixed = weights
    before = load_file(start / "model.safetensors")
    compared = 0
    for name in (each for each in mixed if each.startswith("roberta.")):
        old = before[name if name in before else name.removeprefix("roberta.")]
        rows = len(AutoTokenizer.from_pretrained(start)) if "word_embeddings" in name else len(old)
        between = 0.25 * old[:rows] + 0.75 * trained[name][:rows]
        assert torch.allclose(mixed[name][:rows], between, atol=1e-6), name
        assert torch.equal(mixed[name][rows:], trained[name][rows:]), "new pieces were nothing before"
        compared += 1
    assert compared > 20
    head = [name for name in mixed if name.startswith("lm_head.")]
    assert head
    assert all(torch.equal(mixed[name], trained[name]) for name in head)


class StopsAfter(Silent):
    """Breaks the run off in the middle, as Ctrl-C twice would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage == "train" and done == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("objective", [{}, {"masked_lm": 0.3, "contrastive": 1.0, "pooling": "both"}])
def test_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path, objective: dict[str, Any]) -> None:
    taught_recipe(tmp_path)
    recipe = taught_recipe(
        tmp_path,
        model={"scratch": None, "name": str(tmp_path / "teacher"), "layers": 1, "dropout": 0.1},
        objective=objective,
        checkpoints={"every": 2, "keep": 2},
    )
    straight = pretrain(recipe, out=tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, out=tmp_path / "broken", observer=StopsAfter(9))
    shutil.rmtree(tmp_path / "cache")  # the teacher is asked again, and says the same
    resumed = resume_pretraining(tmp_path / "broken")
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in (straight, resumed)]
    assert weights[0] == weights[1]
    assert straight.metrics == resumed.metrics


def test_a_changed_teacher_is_not_gone_on_with(tmp_path: Path) -> None:
    recipe = taught_recipe(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, out=tmp_path / "run", observer=StopsAfter(2))
    shutil.rmtree(tmp_path / "teacher")
    make_encoder(tmp_path / "teacher", "bert", hidden=48, seed=1)
    with pytest.raises(UserError, match="the teachers changed since the run began"):
        resume_pretraining(tmp_path / "run")


# ---- mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: shutil.rmtree(folder), r"teacher\.name: .*is not a folder"),
        (lambda folder: (folder / "config.json").unlink(), r"teacher\.name: .*holds no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"teacher\.name: .*can't be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), r"teacher\.name: .*can't be loaded"),
    ],
    ids=["no folder", "no configuration", "no JSON", "damaged weights"],
)
def test_a_teacher_that_cant_be_read_leaves_no_run(tmp_path: Path, spoil: Any, said: str) -> None:
    recipe = taught_recipe(tmp_path)
    spoil(tmp_path / "teacher")
    with pytest.raises(UserError, match=said):
        pretrain(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_narrower_than_its_student_is_refused(tmp_path: Path) -> None:
    make_encoder(tmp_path / "teacher", "bert", hidden=16)
    with pytest.raises(UserError, match=r"teacher\.name: .* is 16 wide, .* vectors 32.*model\.scratch\.hidden_size"):
        pretrain(taught_recipe(tmp_path), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_reads_shorter_texts_than_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"teacher\.max_length: .*expected|teacher\.max_length: max_length 999"):
        pretrain(taught_recipe(tmp_path, {"max_length": 999}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_whose_family_does_not_run_packed_is_refused(tmp_path: Path) -> None:
    make_encoder(tmp_path / "teacher", "rembert", hidden=48)
    with pytest.raises(UserError, match=r"teacher\.name: .*rembert"):
        pretrain(taught_recipe(tmp_path), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_student_itself_is_no_teacher(tmp_path: Path) -> None:
    taught_recipe(tmp_path)
    recipe = taught_recipe(tmp_path, model={"scratch": None, "name": str(tmp_path / "teacher")})
    with pytest.raises(UserError, match="is the student itself"):
        pretrain(recipe, out=tmp_path / "run")


def test_pairs_without_their_second_side_are_refused(tmp_path: Path) -> None:
    recipe = taught_recipe(tmp_path)
    rows = [{"language": row["language"], "text": row["text"]} for row in pairs("aa", 120)]
    write(tmp_path / "pairs.csv", rows)
    with pytest.raises(UserError, match="english"):
        pretrain(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_a_teacher_hashes_as_before(tmp_path: Path) -> None:
    recipe = scratch_recipe(tmp_path)
    assert recipe.teacher is None
    assert recipe_hash(recipe) != recipe_hash(taught_recipe(tmp_path))
    assert recipe_hash(recipe) == recipe_hash(recipe.model_copy(update={"teacher": None}))


# ---- the command ----------------------------------------------------------------------------------------


def as_file(folder: Path, recipe: PretrainRecipe) -> str:
    path = folder / "recipe.yaml"
    path.write_text(recipe_yaml(recipe))
    return str(path)


def test_glotune_distill_takes_a_pretraining_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = as_file(tmp_path, taught_recipe(tmp_path, train={"epochs": 1}))
    with pytest.raises(SystemExit) as ended:
        run_cli(["distill", file, "--out", str(tmp_path / "run")])
    assert ended.value.code == 0
    assert "recall at 1" in capsys.readouterr().out


@pytest.mark.parametrize(("source", "key"), [("quickstart", "distill.teacher=RUN"), ("adapt", "teacher.name=ENCODER")])
def test_glotune_distill_without_a_teacher_says_how_to_name_one(
    source: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_cli(["distill", source, *(["data.text.ha=ha.csv"] if source == "adapt" else [])])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "names no teacher" in said
    assert key in said
