"""A trained run read back: predict, evaluate and calibrate, as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

import glotune.verbs.evaluate
from glotune.cli.main import run as glotune_command
from glotune.errors import UserError
from glotune.run.directory import RunDirectory
from glotune.verbs.evaluate import evaluate
from glotune.verbs.lifecycle import Run
from glotune.verbs.train import train
from small_runs import sentences, small_recipe, write_csv


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("trained")
    return train(small_recipe(folder, rows=90, train__epochs=3), out=folder / "run", report=False)


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("paired")
    return train(small_recipe(folder, "bert", pairs=True, train__epochs=1), out=folder / "run", report=False)


def call(*arguments: str, stdin: bytes = b"", monkeypatch: pytest.MonkeyPatch | None = None) -> int:
    """The exit code of one command."""
    if monkeypatch is not None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    with pytest.raises(SystemExit) as ended:
        glotune_command(list(arguments))
    return int(ended.value.code or 0)


def recorded(run: Run, table: str) -> tuple[list[str], np.ndarray]:
    rows = pq.read_table(run.directory.predictions / f"{table}.parquet")
    return rows["text"].to_pylist(), np.stack(rows["probabilities"].to_numpy(zero_copy_only=False))


def test_loading_a_run_gives_its_recorded_predictions(trained: Run) -> None:
    texts, probabilities = recorded(trained, "test.es")
    predictor = glotune.load(trained.path)
    assert np.allclose(predictor.predict_proba(texts), probabilities, atol=1e-5)
    assert predictor.labels == trained.manifest.labels
    assert np.allclose(glotune.load(trained.directory.model).predict_proba(texts), probabilities, atol=1e-5)


def test_a_csv_goes_to_json_lines_and_back_in_order(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, probabilities = recorded(trained, "test.es")
    source = write_csv(tmp_path / "es.csv", [{"text": text} for text in texts])
    assert call("predict", str(trained.path), str(source)) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["text"] for record in records] == texts
    assert [record["row"] for record in records] == list(range(1, len(texts) + 1))
    found = np.array([list(record["probabilities"].values()) for record in records])
    assert np.allclose(found, probabilities, atol=1e-5)
    assert [record["label"] for record in records] == [trained.manifest.labels[i] for i in probabilities.argmax(1)]


def test_standard_input_and_csv_output(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.csv"
    stdin = b"la comida\nel lugar\n"
    assert call("predict", str(trained.path), "-", "--out", str(out), stdin=stdin, monkeypatch=monkeypatch) == 0
    rows = list(csv.DictReader(out.open(encoding="utf-8")))
    assert [row["text"] for row in rows] == ["la comida", "el lugar"]
    assert sum(float(rows[0][f"probability_{label}"]) for label in trained.manifest.labels) == pytest.approx(1)


def test_a_bad_row_leaves_no_file(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    code = call("predict", str(trained.path), "--out", str(out), stdin=b"one\n\n", monkeypatch=monkeypatch)
    assert code == 2
    assert "standard input, row 2: an empty text" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_pairs_take_the_columns_of_the_recipe(paired: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sentences("es", 30, 2, pairs=True)
    assert call("predict", str(paired.path), str(write_csv(tmp_path / "es.csv", rows)), "--to", "csv") == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["text_pair"] for row in found] == [row["text_pair"] for row in rows]
    _, probabilities = recorded(paired, "test.es")
    labels = paired.manifest.labels
    assert np.allclose(
        [[float(row[f"probability_{name}"]) for name in labels] for row in found], probabilities, atol=1e-5
    )


def test_calibration_is_kept_apart_and_applied_when_asked(trained: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = glotune.load(trained.path).predict_proba(["la comida"])
    assert call("calibrate", str(trained.path)) == 0
    assert "temperature" in capsys.readouterr().out
    temperature = json.loads(trained.directory.calibration.read_text())["temperature"]
    after = glotune.load(trained.path, calibrated=True).predict_proba(["la comida"])
    assert np.array_equal(glotune.load(trained.path).predict_proba(["la comida"]), before)
    scaled = np.exp(np.log(before) / temperature)
    assert np.allclose(after, scaled / scaled.sum(), atol=1e-6)


def test_evaluating_again_gives_the_same_scores(trained: Run) -> None:
    judged = evaluate(trained.path, name="again")
    metrics = json.loads((judged.path / "metrics.json").read_text())
    for split, languages in trained.metrics.items():
        if split != "schema":
            for language, scores in languages.items():
                assert metrics[split][language]["confusion"] == scores["confusion"]
                assert metrics[split][language]["loss"] == pytest.approx(scores["loss"], abs=1e-5)


def test_new_data_is_judged_beside_the_run(trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_csv(tmp_path / "new.csv", sentences("en", 25, 9))
    assert call("evaluate", str(trained.path), "--data", f"en={source}", "--name", "new") == 0
    shown = capsys.readouterr().out
    assert "en (source)" in shown
    folder = trained.path / "evaluations" / "new"
    assert json.loads((folder / "evaluation.json").read_text())["rows"] == {"test": 25}
    assert pq.read_table(folder / "predictions" / "test.en.parquet").num_rows == 25
    assert call("evaluate", str(trained.path), "--data", f"en={source}", "--name", "new") == 2
    assert "Give another one with --name" in capsys.readouterr().err


def test_keys_say_how_the_files_of_an_evaluation_are_read(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the message of a missing column advises is what the command takes."""
    rows = [{"tweet": row["text"], "mood": row["label"], "split": "train"} for row in sentences("en", 25, 9)]
    source = write_csv(tmp_path / "other.csv", rows)
    asked = ["evaluate", str(trained.path), f"en={source}", "--name", "other"]
    assert call(*asked) == 2
    assert "Set them together: data.columns.text=tweet data.columns.label=NAME" in capsys.readouterr().err
    assert call(*asked, "data.columns.text=tweet", "data.columns.label=mood") == 2
    assert "data.split_names.test=train" in (advised := capsys.readouterr().err), advised
    keys = {"data.columns.text": "tweet", "data.columns.label": "mood", "data.split_names.test": "train"}
    assert call(*asked, *(f"{key}={value}" for key, value in keys.items())) == 0
    record = json.loads((trained.path / "evaluations" / "other" / "evaluation.json").read_text())
    assert record["rows"] == {"test": 25}
    assert record["keys"] == keys


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("data.column.text=tweet", "data.columns, data.split_names.test, data.quoting. Did you mean 'data.columns'?"),
        ("train.epochs=3", "'train.epochs' changes nothing in an evaluation"),
        ("data.columns.texts=tweet", "text"),
    ],
)
def test_other_keys_are_refused_in_an_evaluation(
    key: str, message: str, trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_csv(tmp_path / "new.csv", sentences("en", 25, 9))
    assert call("evaluate", str(trained.path), f"en={source}", key) == 2
    assert message in capsys.readouterr().err
    assert call("evaluate", str(trained.path), "data.columns.text=tweet") == 2
    assert "without files" in capsys.readouterr().err


def test_evaluations_that_begin_in_the_same_second_get_names_of_their_own(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glotune.verbs.evaluate, "_name_of", lambda texts: "same")
    with ThreadPoolExecutor(2) as pool:
        judged = list(pool.map(lambda _: evaluate(trained.path), range(2)))
    assert sorted(found.path.name for found in judged) == ["same", "same-2"]
    for found in judged:
        assert json.loads((found.path / "evaluation.json").read_text())["name"] == found.path.name
        assert (found.path / "metrics.json").exists()
    assert not list((trained.path / "evaluations").glob(".*"))


def test_texts_that_are_cut_are_said_and_counted(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "la comida " * 40
    stdin = f"corto\n{long}\n{long}\notro\n".encode()
    assert call("predict", str(trained.path), stdin=stdin, monkeypatch=monkeypatch) == 0
    assert "2 of 4 texts cut: longer than 32 tokens (rows 2, 3)" in capsys.readouterr().err
    rows = [{"text": f"nice room {number}", "label": "good"} for number in range(10)] + [{"text": long, "label": "bad"}]
    source = write_csv(tmp_path / "long.csv", rows)
    assert call("evaluate", str(trained.path), f"en={source}", "--name", "long") == 0
    assert "1 of 11 test texts are longer than 32 tokens: cut" in capsys.readouterr().err
    record = json.loads((trained.path / "evaluations" / "long" / "evaluation.json").read_text())
    assert record["truncated"] == {"test": 1}


def test_a_run_in_bf16_predicts_in_fp32_unless_asked(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import pipeline

    run = RunDirectory(shutil.copytree(trained.path, tmp_path / "run"))
    assert trained.manifest.plan is not None
    run.update_manifest(plan=trained.manifest.plan.model_copy(update={"precision": "bf16"}))
    texts = [row["text"] for row in sentences("es", 12, 4)]
    classify = pipeline("text-classification", model=str(run.path / "model"), device="cpu", top_k=None)
    expected = [{entry["label"]: entry["score"] for entry in answer} for answer in classify(texts, truncation=True)]
    found = [prediction.probabilities for prediction in glotune.load(run.path).predict(texts)]
    assert found == [pytest.approx(scores, abs=1e-6) for scores in expected]
    source = write_csv(tmp_path / "es.csv", [{"text": text} for text in texts])
    shown = {}
    for precision in ("fp32", "bf16"):
        assert call("predict", str(run.path), str(source), "--precision", precision) == 0
        shown[precision] = [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]
    assert shown["fp32"] == found
    assert shown["bf16"] != found
    assert shown["bf16"] == [pytest.approx(scores, abs=0.05) for scores in expected]
    data = write_csv(tmp_path / "new.csv", sentences("en", 12, 9))
    for name, options in (("plain", []), ("fast", ["--precision", "bf16"])):
        assert call("evaluate", str(run.path), f"en={data}", "--name", name, *options) == 0
        assert ("computed in bf16" in capsys.readouterr().out) == (name == "fast")
        record = json.loads((run.path / "evaluations" / name / "evaluation.json").read_text())
        assert record["precision"] == ("bf16" if name == "fast" else "fp32")


@pytest.fixture
def broken(trained: Run, tmp_path: Path) -> Path:
    """A copy of the run whose model has lost its head."""
    run = shutil.copytree(trained.path, tmp_path / "broken")
    weights = load_file(run / "model" / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("classifier.")}
    save_file(kept, run / "model" / "model.safetensors", metadata={"format": "pt"})
    return run


def test_a_run_that_lost_its_head_answers_nothing(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_csv(tmp_path / "new.csv", sentences("en", 25, 9))
    for command in (
        ["predict", str(broken), str(source), "--out", str(tmp_path / "out.csv")],
        ["predict", str(broken / "model"), str(source)],
        ["evaluate", str(broken), "--data", f"en={source}", "--name", "headless"],
    ):
        assert call(*command) == 2
        shown = capsys.readouterr()
        assert "lack classifier.dense.bias, classifier.dense.weight" in shown.err
        assert shown.out == ""
    assert not (tmp_path / "out.csv").exists()
    assert not (broken / "evaluations" / "headless").exists()


def test_a_run_with_the_model_of_other_labels_answers_nothing(trained: Run, tmp_path: Path) -> None:
    run = shutil.copytree(trained.path, tmp_path / "swapped")
    config = json.loads((run / "model" / "config.json").read_text())
    names = {index: f"other {name}" for index, name in config["id2label"].items()}
    (run / "model" / "config.json").write_text(json.dumps(config | {"id2label": names, "label2id": {}}))
    with pytest.raises(UserError, match=r"has the labels other bad.* Expected those of its run: bad"):
        glotune.load(run)


def test_an_unknown_label_is_refused_and_leaves_nothing(
    trained: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_csv(tmp_path / "bad.csv", [{"text": "hello", "label": "god"}])
    assert call("evaluate", str(trained.path), "--data", f"en={source}", "--name", "bad") == 2
    told = capsys.readouterr().err
    assert "row 1: unknown label 'god'" in told
    assert "Did you mean 'good'?" in told
    assert not (trained.path / "evaluations" / "bad").exists()
