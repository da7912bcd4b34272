"""A run exported, as a user does it: the folder opens everywhere, answers as the run does, and says what it cost."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

import glotune
from glotune.cli.main import run as glotune_command
from glotune.errors import RunError, UserError
from glotune.verbs.calibrate import calibrate
from glotune.verbs.evaluate import evaluate
from glotune.verbs.export import export as module
from glotune.verbs.export.export import Export, export
from glotune.verbs.export.graph import save_graph
from glotune.verbs.export.quantise import EMBEDDINGS, in_8_bits, parts_of
from glotune.verbs.export.record import read_export
from glotune.verbs.lifecycle import Run
from glotune.verbs.train import train
from glotune.whole_files import sha256
from small_runs import multi_label_recipe, score_recipe, small_recipe


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("trained")
    recipe = small_recipe(folder, rows=90, train__epochs=3, data__normalization="NFKC")
    run = train(recipe, out=folder / "run", report=False)
    calibrate(run.directory)
    return run


@pytest.fixture(scope="module")
def plain(trained: Run) -> Export:
    return export(trained.path, to="safetensors")


@pytest.fixture(scope="module")
def spanish(trained: Run) -> Export:
    return export(trained.path, to="safetensors", precision="fp16", languages=["es"])


@pytest.fixture(scope="module")
def graph(trained: Run) -> Export:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="needs the extra 'onnx'")
    return export(trained.path, to="onnx")


def call(*arguments: str, stdin: bytes = b"", monkeypatch: pytest.MonkeyPatch | None = None) -> int:
    if monkeypatch is not None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    with pytest.raises(SystemExit) as ended:
        glotune_command(list(arguments))
    return int(ended.value.code or 0)


def spanish_texts(trained: Run) -> list[str]:
    found: list[str] = pq.read_table(trained.directory.predictions / "test.es.parquet")["text"].to_pylist()
    return found


def test_the_folder_opens_in_transformers_with_the_same_labels_and_scores(trained: Run, plain: Export) -> None:
    from transformers import pipeline

    texts = spanish_texts(trained)
    classify = pipeline("text-classification", model=str(plain.path), dtype=torch.float32, top_k=None)
    for text, prediction in zip(texts, glotune.load(trained.path).predict(texts), strict=True):
        for entry in classify([text], truncation=True)[0]:
            assert entry["score"] == pytest.approx(prediction.probabilities[entry["label"]], abs=1e-5)


def test_the_record_says_how_its_answers_compare_and_what_each_file_is(trained: Run, plain: Export) -> None:
    assert plain.path == trained.path / "exports" / "safetensors-fp32"
    record = read_export(plain.path)
    assert record == plain.record.model_copy(update={"files": record.files}) if record else False
    assert record is not None
    assert [(row.split, row.language, row.n) for row in record.parity] == [("validation", "en", 24), ("test", "es", 30)]
    for row in record.parity:
        assert row.largest_change < 1e-6
        assert row.changed == row.outside == 0
        assert row.before == row.after
        assert row.difference == 0
        assert row.interval is not None
    assert set(record.files) == {path.name for path in plain.path.iterdir()} - {"export.json"}
    assert all(sha256(plain.path / name) == digest for name, digest in record.files.items())
    assert record.before.parameters == record.after.parameters > 30_000


def test_the_card_shows_the_same_numbers_and_no_path_of_this_machine(plain: Export, spanish: Export) -> None:
    for each in (plain, spanish):
        card = (each.path / "README.md").read_text(encoding="utf-8")
        row = each.record.parity[0]
        assert f"| validation, English (en) | 24 | {row.largest_change:.2g} | {row.changed} |" in card
        assert str(each.path.parent.parent.parent) not in card + (each.path / "export.json").read_text(encoding="utf-8")
    assert "Cut for good to the pieces of 30 texts (Spanish (es))" in (spanish.path / "README.md").read_text(
        encoding="utf-8"
    )


def test_calibration_comes_along(trained: Run, plain: Export) -> None:
    texts = spanish_texts(trained)
    expected = glotune.load(trained.path, calibrated=True).predict_proba(texts)
    assert np.allclose(glotune.load(plain.path, calibrated=True).predict_proba(texts), expected, atol=1e-6)
    assert not np.allclose(glotune.load(plain.path).predict_proba(texts), expected, atol=1e-4)


def test_unicode_form_and_window_come_along(trained: Run, plain: Export) -> None:
    exported = glotune.load(plain.path)
    assert exported.max_length == 32
    texts = ["ﬁne ｆｏｏｄ and staﬀ", "fine food and staff"]
    first, second = exported.predict_proba(texts)
    assert np.array_equal(first, second), "NFKC is in its tokenizer"


def test_sixteen_bits_halve_the_weights(trained: Run, spanish: Export) -> None:
    assert {tensor.dtype for tensor in load_file(spanish.path / "model.safetensors").values()} == {torch.float16}
    assert json.loads((spanish.path / "config.json").read_text())["dtype"] == "float16"
    assert spanish.record.after.bytes < spanish.record.before.bytes / 2


def test_a_cut_vocabulary_answers_as_before_on_covered_texts_and_counts_the_others(
    trained: Run, spanish: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = spanish.record.vocabulary
    assert vocabulary is not None
    assert vocabulary.pieces < vocabulary.full_pieces / 2
    assert spanish.record.after.parameters < spanish.record.before.parameters
    english, spaniard = spanish.record.parity
    assert spaniard.outside == 0
    assert spaniard.largest_change < 1e-3, "fp16 alone"
    assert 0 < english.outside <= english.n
    assert english.largest_change_inside < 1e-3
    covered = spanish_texts(trained)[:5]
    exported = glotune.load(spanish.path)
    assert not any(each.outside for each in exported.predict(covered))
    assert np.allclose(exported.predict_proba(covered), glotune.load(trained.path).predict_proba(covered), atol=1e-3)
    stdin = "\n".join([covered[0], "the staff was lovely", covered[1]]).encode()
    assert call("predict", str(spanish.path), "-", stdin=stdin, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().err
    assert "1 of 3 texts hold pieces that were cut from this vocabulary, and were read in smaller ones (rows 2)" in told


def test_files_of_texts_widen_the_vocabulary(trained: Run, spanish: Export, tmp_path: Path) -> None:
    more = tmp_path / "more.txt"
    more.write_text("the staff was lovely\n\nthe room\n", encoding="utf-8")
    wider = export(trained.path, to="safetensors", languages=["es"], texts=[more], out=tmp_path / "wider")
    assert wider.record.vocabulary is not None
    assert spanish.record.vocabulary is not None
    assert wider.record.vocabulary.files == ["more.txt"]
    assert wider.record.vocabulary.texts == 32
    assert wider.record.vocabulary.pieces > spanish.record.vocabulary.pieces
    assert not glotune.load(wider.path).predict(["the staff was lovely"])[0].outside
    more.unlink()
    assert glotune.load(wider.path).predict(["the staff"]), "needs none of the run's files any more"


def test_files_of_texts_are_read_as_the_runs_own(trained: Run, tmp_path: Path) -> None:
    copy, more = tmp_path / "run", tmp_path / "more.tsv"
    shutil.copytree(trained.path, copy, ignore=shutil.ignore_patterns("exports"))
    recipe = (copy / "recipe.yaml").read_text(encoding="utf-8")
    assert "quoting: standard" in recipe
    (copy / "recipe.yaml").write_text(recipe.replace("quoting: standard", "quoting: none"), encoding="utf-8")
    more.write_text('id\ttext\n1\tthe room\n2\t"lovely staff\n3\tthe food"\n4\tthe story\n', encoding="utf-8")
    read = [
        export(run, to="safetensors", texts=[more], out=tmp_path / name).record.vocabulary
        for run, name in ((trained.path, "standard"), (copy, "none"))
    ]
    assert [each and each.texts for each in read] == [3, 4]
    more.write_text("id\ttweet\n1\tthe room\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no column 'text'.*are those of the run's recipe: change the file") as caught:
        export(copy, to="safetensors", texts=[more], out=tmp_path / "out")
    assert "--text " not in str(caught.value)


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_loaded(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("of the user")
    monkeypatch.setattr(module.Source, "of", lambda run: pytest.fail("the run was opened"))
    with pytest.raises(UserError, match=r"can't be written .*another one with --out"):
        export(trained.path, to="safetensors", out=tmp_path / "file" / "x")


@pytest.mark.parametrize("given", ["", " ", ",", ", ,"])
def test_languages_that_name_none_are_refused(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    assert call("export", str(trained.path), "--languages", given, "--out", str(tmp_path / "out")) == 2
    assert "names no language" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_done_is_refused_before_anything_is_written(trained: Run, plain: Export, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"exists.*another one with --out"):
        export(trained.path, to="safetensors")
    with pytest.raises(UserError, match=r"safetensors with --precision int8.*fp32 or fp16 or bf16"):
        export(trained.path, to="safetensors", precision="int8")
    with pytest.raises(UserError, match=r"no texts in 'bn'.*en, es.*--texts"):
        export(trained.path, to="safetensors", languages=["bn"], out=tmp_path / "bn")
    for stream in ("-", "/dev/stdin"):
        with pytest.raises(UserError, match=f"{stream} can be read only once.*Write them to a file first"):
            export(trained.path, to="safetensors", texts=[stream], out=tmp_path / "bn")
    with pytest.raises(UserError, match="not a run directory"):
        export(plain.path)
    assert not list(tmp_path.iterdir())


def test_an_export_in_fp32_that_answers_otherwise_is_not_written(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXACT", -1.0)
    with pytest.raises(RunError, match=r"moves by .*nothing was written"):
        export(trained.path, to="safetensors", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_changed_data_are_no_ground_to_compare_on(trained: Run, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained.path, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"data_hash": "0" * 64}))
    with pytest.raises(UserError, match="data changed since") as caught:
        export(copy, to="safetensors", out=tmp_path / "out")
    assert caught.value.remedy == "Put the files back", "there is no option --data here"
    with pytest.raises(UserError, match="Put the files back, or name the files to evaluate on with --data"):
        evaluate(copy)


TEI = {
    *("architectures", "model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("intermediate_size", "hidden_act", "hidden_dropout_prob", "max_position_embeddings", "type_vocab_size"),
    *("initializer_range", "layer_norm_eps", "pad_token_id", "id2label", "label2id"),
}
"""Keys without which text-embeddings-inference opens no BERT or XLM-R classifier (its router and candle backend)."""


def test_the_files_are_what_other_servers_read(trained: Run, plain: Export, spanish: Export) -> None:
    for folder in (trained.directory.model, plain.path, spanish.path):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        assert set(config) >= TEI
        # Both take the head from the architecture, and the labels from these two maps, with every id once.
        assert config["architectures"] == ["XLMRobertaForSequenceClassification"]
        assert config["id2label"] == {"0": "bad", "1": "good", "2": "plain"}
        assert config["label2id"] == {name: int(index) for index, name in config["id2label"].items()}
        assert config["problem_type"] == "single_label_classification", "vLLM: softmax over the labels"
        # The longest text: here, else as many tokens as there are positions.
        assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 32
        # The fast tokenizer alone is opened, and its ids must have rows.
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        assert max(tokenizer.get_vocab().values()) < config["vocab_size"]
        assert tokenizer.token_to_id("<pad>") == config["pad_token_id"]
        assert tokenizer.encode("la comida").ids[0] == tokenizer.token_to_id("<s>")
        weights = load_file(folder / "model.safetensors")
        assert weights["roberta.embeddings.word_embeddings.weight"].shape[0] == config["vocab_size"]
        assert {"classifier.dense.weight", "classifier.out_proj.weight", "classifier.out_proj.bias"} <= set(weights)
        assert weights["classifier.out_proj.weight"].shape[0] == 3


# -- ONNX ----------------------------------------------------------------------------------------------------------


def test_a_graph_is_opened_without_telemetry(graph: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    asked: list[str] = []
    monkeypatch.setattr(ort, "disable_telemetry_events", lambda: asked.append("off"))
    glotune.load(graph.path)
    assert asked == ["off"]


def test_the_graph_answers_as_the_run_in_any_batch(trained: Run, graph: Export) -> None:
    assert max(row.largest_change for row in graph.record.parity) < 1e-4
    texts = [*spanish_texts(trained), "x", "la " * 60]
    expected = glotune.load(trained.path).predict_proba(texts)
    exported = glotune.load(graph.path)
    assert repr(exported) == "Predictor(labels=['bad', 'good', 'plain'], device='cpu', precision='fp32')"
    assert np.allclose(exported.predict_proba(texts), expected, atol=1e-5)
    alone = np.concatenate([exported.predict_proba([text]) for text in texts[::5]])
    exported.engine.forget()
    assert np.allclose(alone, expected[::5], atol=1e-5)
    assert exported.predict(["la " * 60])[0].truncated


def test_the_graph_takes_what_servers_give_it_and_names_no_file_of_this_machine(graph: Export) -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(str(graph.path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]
    assert [each.name for each in session.get_outputs()] == ["logits"]
    content = (graph.path / "model.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content


def test_the_command_shows_what_was_compared(
    trained: Run, graph: Export, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "traced", lambda hf: _graph_of(graph))
    out = trained.path / "exports" / "small"
    assert call("export", str(trained.path), "--precision", "int8", "--max-loss", "100", "--out", str(out)) == 0
    shown = capsys.readouterr().out
    assert "word embeddings" in shown
    assert "attention.self.query" in shown
    assert "validation" in shown
    assert "Spanish (es)" in shown
    exported = glotune.load(out)
    assert exported.engine.model.precision == "int8"
    texts = spanish_texts(trained)
    assert np.abs(exported.predict_proba(texts) - glotune.load(trained.path).predict_proba(texts)).max() < 0.02
    record = read_export(out)
    assert record is not None
    assert sum(part.parameters for part in record.parts) == 400 * 32 + 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert {part.name for part in record.parts if part.quantised}, "at least one part"
    assert record.after.bytes < record.before.bytes


def test_eight_bits_that_lose_too_much_are_refused_without_force(
    trained: Run, graph: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "traced", lambda hf: _graph_of(graph))
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"in 8 bits this model loses .* points.*--force"):
        export(trained.path, precision="int8", max_loss=-1, out=out)
    assert not out.exists()
    forced = export(trained.path, precision="int8", max_loss=-1, force=True, out=out)
    assert [part.quantised for part in forced.record.parts].count(True) == 1, "all but one were left out on the way"


def test_what_was_tried_before_leaves_nothing_in_eight_bits_beyond_one_file(
    graph: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in a file beside the graph would be written after those that lie there."""
    monkeypatch.setattr("glotune.verbs.export.graph.LARGEST_FILE", 0)
    model = _graph_of(graph)
    parts = parts_of(model, "roberta.embeddings.word_embeddings")
    whole, trial = tmp_path / "whole", tmp_path / "trial"
    for folder in (whole, trial):
        folder.mkdir()
    save_graph(model, whole)
    before = sizes(whole)
    products = [name for name in parts if name != EMBEDDINGS]
    for number, names in enumerate(([EMBEDDINGS], products, products[:2], list(parts), products[:1])):
        fresh = tmp_path / str(number)
        fresh.mkdir()
        for folder in (trial, fresh):
            in_8_bits(whole, {name: parts[name] for name in names}, folder)
        assert sizes(trial) == sizes(fresh)
        assert sum(sizes(trial).values()) < sum(before.values())
    assert sizes(whole) == before


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_half_weights_halve_the_file(
    trained: Run, graph: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "traced", lambda hf: _graph_of(graph))
    half = export(trained.path, precision="fp16", out=tmp_path / "half")
    weights = 4 * half.record.after.parameters
    assert half.record.after.bytes < graph.record.after.bytes - 0.45 * weights
    assert max(row.largest_change for row in half.record.parity) < 1e-3


@pytest.mark.parametrize("to", ["safetensors", pytest.param("onnx", marks=pytest.mark.extras)])
@pytest.mark.parametrize(
    ("recipe_of", "keys"),
    [
        (multi_label_recipe, {}),
        (score_recipe, {"data__levels": [0, 40, 80, 100]}),
        (small_recipe, {"evaluate__tune_thresholds": "macro_f1"}),
        pytest.param(
            small_recipe, {"data__max_length": 8, "data__windows": {"stride": 2, "most": 4}}, marks=pytest.mark.extras
        ),
    ],
)
def test_other_tasks_go_out_with_what_their_answers_need(
    recipe_of: Any, keys: dict[str, Any], to: Any, tmp_path: Path
) -> None:
    if to == "onnx":
        pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    run = train(recipe_of(tmp_path, **keys), out=tmp_path / "run", report=False)
    written = export(run.path, to=to)
    assert written.record.task == run.manifest.task
    assert max(row.largest_change_inside for row in written.record.parity) < 1e-4
    texts = ["la comida", "the staff was rude", "good food", "la comida fue buena y el lugar bonito " * 3]
    ours, theirs = glotune.load(run.path), glotune.load(written.path)
    assert theirs.thresholds == ours.thresholds
    assert bool(ours.thresholds) == (recipe_of is multi_label_recipe or "evaluate__tune_thresholds" in keys)
    for found, before in zip(theirs.predict(texts), ours.predict(texts), strict=True):
        assert (found.label, found.labels) == (before.label, before.labels), "answered by these thresholds"
        assert found.truncated == before.truncated, "and windows"
        assert (found.scores or found.probabilities) == pytest.approx(before.scores or before.probabilities, abs=1e-4)


@pytest.mark.extras
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "deberta-v2", "rembert"])
def test_every_family_exports_with_and_without_pairs(family: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra 'onnx'")
    pairs = family in ("bert", "deberta-v2")
    run = train(small_recipe(tmp_path, family, pairs=pairs, train__epochs=1), out=tmp_path / "run", report=False)
    written = export(run.path, languages=["es"])
    assert max(row.largest_change_inside for row in written.record.parity) < 1e-4
    assert written.record.pairs == pairs
    if pairs:
        texts = [("buena comida", "lugar"), ("mala", "gente fea y lenta")]
        assert np.allclose(
            glotune.load(written.path).predict_proba(texts), glotune.load(run.path).predict_proba(texts), atol=1e-4
        )


def _graph_of(written: Export) -> object:
    import onnx

    return onnx.load(str(written.path / "model.onnx"))
