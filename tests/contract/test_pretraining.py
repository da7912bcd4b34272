"""Pretraining: packed = padded, any cut gives the same update, resumed = uninterrupted, the result opens anywhere."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from encoders import PACKED_FAMILIES, make_encoder
from glotune.data.batches import PackedBatch
from glotune.engine.assembly import assemble_pretraining
from glotune.engine.checkpoints import CheckpointStore
from glotune.engine.loop import build_loop
from glotune.engine.observer import Silent
from glotune.engine.parts import Parts
from glotune.engine.processes import Control, Processes
from glotune.engine.recorder import Recorder
from glotune.errors import UserError
from glotune.model.pretraining import MaskedLanguageModel, load_masked_lm, prepare_tokenizer
from glotune.recipe.pretrain import PretrainRecipe
from glotune.recipe.schema import Model
from glotune.run.directory import RunDirectory
from glotune.tasks.corpus import as_text_data, build_corpus
from glotune.tasks.pretraining import Pretraining
from glotune.verbs.pretrain import pretrain, resume_pretraining
from made_pairs import pair_file, pairs, scratch_recipe, write


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOTUNE_CACHE", str(tmp_path / "cache"))


def packed(lists: list[list[int]]) -> PackedBatch:
    lengths = [len(ids) for ids in lists]
    total = sum(lengths)
    return PackedBatch(
        input_ids=torch.tensor([token for ids in lists for token in ids]),
        position_ids=torch.tensor([place for length in lengths for place in range(length)]),
        token_type_ids=torch.zeros(total, dtype=torch.long),
        cu_seqlens=torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32),
        lengths=tuple(lengths),
        rows=np.arange(len(lists)),
    )


@pytest.mark.parametrize("family", PACKED_FAMILIES)
def test_packed_token_logits_are_the_models_own(tmp_path: Path, family: str) -> None:
    folder = make_encoder(tmp_path / family, family)
    own = AutoModelForMaskedLM.from_pretrained(folder).eval()
    own.save_pretrained(folder)  # with the output layer, which a bare encoder lacks
    network = MaskedLanguageModel(load_masked_lm(Model(name=str(folder)), lambda line: None)).eval()
    generator = torch.Generator().manual_seed(0)
    lists = [torch.randint(5, 60, (length,), generator=generator).tolist() for length in (3, 17, 9, 1)]
    with torch.no_grad():
        logits = network.token_logits(network(packed(lists))).split([len(ids) for ids in lists])
        for ids, found in zip(lists, logits, strict=True):
            expected = own(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits[0]
            assert torch.allclose(found, expected, atol=1e-5)


def test_a_family_without_packing_is_refused_by_name(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "rembert", "rembert")
    with pytest.raises(UserError, match="rembert"):
        MaskedLanguageModel(load_masked_lm(Model(name=str(folder)), lambda line: None))


def parts_of(folder: Path, recipe: PretrainRecipe) -> tuple[Parts, Recorder]:
    from glotune.data.plain_text import read_plain_texts

    texts = read_plain_texts(recipe.data, from_scratch=True, seed=recipe.seed)
    shared = folder.parent / "shared"  # learning a tokenizer twice may give it other scores in the last digits
    shared.mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    tokenizer = prepare_tokenizer(recipe, texts, shared)
    content = as_text_data(texts)
    corpus = build_corpus(texts, content, tokenizer, recipe.data, folder / "tokens", lambda done, total: None)
    recorder = Recorder(RunDirectory(folder), Silent(), 1, True)
    return assemble_pretraining(recipe, corpus, tokenizer, Processes.start("cpu"), recorder, None).parts, recorder


def gradients(folder: Path, recipe: PretrainRecipe, budget: int, held: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the first step when it is cut by `budget` and `held` tokens may be held."""
    parts, recorder = parts_of(folder, recipe)
    stepper = build_loop(parts, None, recorder, CheckpointStore(folder / "checkpoints", 1), Control()).stepper
    stepper.token_budget = budget
    object.__setattr__(parts, "tokens_held", lambda token_budget: held)
    objective = parts.task.objective(0, np.random.default_rng(0).permutation(parts.task.drawn)[:24])
    parts.network.train()
    loss = float(stepper._accumulate(0, objective, stepper._load(objective))[0])
    found = {name: value.grad.clone() for name, value in parts.trainable.items() if value.grad is not None}
    return loss, found


@pytest.mark.parametrize("pooling", ["first", "both"])
@pytest.mark.parametrize(("budget", "held"), [(64, 10**6), (64, 0), (10**6, 0)])
def test_the_update_does_not_depend_on_how_the_batch_is_cut(
    tmp_path: Path, pooling: str, budget: int, held: int
) -> None:
    recipe = scratch_recipe(tmp_path, objective={"pooling": pooling})
    loss, whole = gradients(tmp_path / "whole", recipe, 10**6, 10**6)
    other_loss, cut = gradients(tmp_path / "cut", recipe, budget, held)
    assert other_loss == pytest.approx(loss, abs=1e-5)
    assert whole.keys() == cut.keys()
    for name, gradient in whole.items():
        assert torch.allclose(gradient, cut[name], atol=2e-6), name


def test_plain_texts_beside_pairs_are_learned_from_too(tmp_path: Path) -> None:
    rows = [{"text": row["text"], "language": "cc"} for row in pairs("bb", 40, seed=3)]
    text = str(write(tmp_path / "texts.csv", rows))
    recipe = scratch_recipe(tmp_path, data={"text": text})
    parts, _ = parts_of(tmp_path / "parts", recipe)
    assert isinstance(parts.task, Pretraining)
    corpus = parts.task.corpus
    assert corpus.pairs < corpus.items
    texts = corpus.texts_of(np.array([0, corpus.items - 1]))
    assert texts.tolist() == [0, corpus.items - 1, corpus.items]
    run = pretrain(recipe, out=tmp_path / "run")
    assert run.metrics["validation"]["cc"]["recall_at_1"] is None
    assert run.metrics["validation"]["cc"]["masked_loss"] > 0


class StopsAfter(Silent):
    """Breaks the run off in the middle, as Ctrl-C twice would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def progress(self, stage: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        if stage == "train" and done == self.step:
            raise KeyboardInterrupt


def test_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    first = pretrain(scratch_recipe(tmp_path, train={"epochs": 1}), out=tmp_path / "first")
    recipe = scratch_recipe(
        tmp_path,
        model={"scratch": None, "name": str(first.path / "model"), "dropout": 0.1},
        checkpoints={"every": 2, "keep": 2},
    )
    straight = pretrain(recipe, out=tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, out=tmp_path / "broken", observer=StopsAfter(9))
    assert RunDirectory.open(tmp_path / "broken").read_manifest().status.value == "interrupted"
    resumed = resume_pretraining(tmp_path / "broken")
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in (straight, resumed)]
    assert weights[0] == weights[1]
    assert straight.metrics == resumed.metrics
    assert resume_pretraining(tmp_path / "broken").manifest.attempt == 2


def test_a_run_from_scratch_goes_on_with_its_own_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pretrain(scratch_recipe(tmp_path), out=tmp_path / "run", observer=StopsAfter(3))
    kept = (tmp_path / "run" / "tokenizer" / "tokenizer.json").read_bytes()
    run = resume_pretraining(tmp_path / "run")
    assert (run.path / "tokenizer" / "tokenizer.json").read_bytes() == kept
    assert json.loads((run.path / "model" / "tokenizer.json").read_text()) == json.loads(kept)


def test_changed_texts_are_not_resumed(tmp_path: Path) -> None:
    recipe = scratch_recipe(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, out=tmp_path / "run", observer=StopsAfter(2))
    pair_file(tmp_path, 121)
    with pytest.raises(UserError, match="changed since the run began"):
        resume_pretraining(tmp_path / "run")


def test_the_run_learns_is_recorded_and_opens_as_any_encoder(tmp_path: Path) -> None:
    recipe = scratch_recipe(tmp_path, train={"epochs": 6}, model={"saved_as": "float16"})
    run = pretrain(recipe, out=tmp_path / "run")
    manifest = run.manifest
    assert (manifest.kind, manifest.status.value) == ("pretrain", "complete")
    figures = run.metrics["validation"]
    recalls = [figures[language]["recall_at_1"] for language in ("aa", "bb")]
    assert sum(recalls) / 2 > 0.3  # chance is 0.1
    assert figures["en"]["masked_loss"] < math.log(60)
    kinds = {event.kind for event in run.directory.events()}
    assert {"step", "objectives", "epoch", "evaluation", "best", "checkpoint", "plan", "change"} <= kinds
    report = (run.path / "report" / "report.md").read_text()
    assert "| aa | 10 |" in report
    assert "chance: 10.0 %" in report
    assert "- status: complete" in report
    model = run.path / "model"
    parameters = run.manifest.changes[0].parameters_after
    assert (model / "model.safetensors").stat().st_size < 2 * parameters + 20_000  # fp16, tied weights once
    assert AutoModelForMaskedLM.from_pretrained(model, dtype=torch.float32)(torch.tensor([[0, 5, 2]])).logits.shape[
        -1
    ] == len(AutoTokenizer.from_pretrained(model))
    AutoModelForSequenceClassification.from_pretrained(model, num_labels=3)
    assert json.loads((model / "config.json").read_text())["hidden_dropout_prob"] == 0.1


def test_a_pretrained_encoder_is_adapted_with_new_pieces(tmp_path: Path) -> None:
    first = pretrain(scratch_recipe(tmp_path, train={"epochs": 1}), out=tmp_path / "first")
    words = ["".join(pair) for pair in itertools.product(("zo", "ze", "za"), ("ri", "ro", "ra", "ru"), ("x", "v", ""))]
    lines = [" ".join(random.Random(number).choices(words, k=5)) for number in range(160)]
    texts = write(tmp_path / "cc.csv", [{"text": line, "language": "cc"} for line in lines])
    recipe = PretrainRecipe.model_validate(
        {
            "name": "adapted",
            "model": {"name": str(first.path / "model"), "new_pieces": 5},
            "data": {"text": str(texts), "max_length": 32},
            "optimizer": {"learning_rate": 2e-3},
            "train": {"epochs": 2, "batch_size": 16, "precision": "fp32", "device": "cpu"},
        }
    )
    run = pretrain(recipe, out=tmp_path / "second")
    assert run.manifest.changes[0].kind == "new_pieces"
    assert len(AutoTokenizer.from_pretrained(run.path / "model")) == 65
    losses = [event.data["masked_loss"] for event in run.directory.events() if event.key == "validation/cc"]
    assert losses[-1] < losses[0]


def test_a_users_mistake_leaves_no_directory(tmp_path: Path) -> None:
    recipe = scratch_recipe(
        tmp_path,
        model={
            "scratch": {
                "layers": 1,
                "hidden_size": 16,
                "heads": 2,
                "intermediate_size": 32,
                "max_length": 32,
                "vocabulary": 9000,
            }
        },
    )
    with pytest.raises(UserError, match="9000 pieces are wanted"):
        pretrain(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
