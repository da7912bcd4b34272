"""Ways to talk a report round, each tried through the command line: refused, or said where the numbers stand (C9)."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glotune.cli.main import run as command_line
from glotune.recipe import yaml
from glotune.run.data import load_run
from glotune.stats.scores import score_outcomes
from glotune.study import local
from made_runs import make_run
from small_runs import sentences, write_csv

BASE = {"en": 0.80, "bn": 0.66}
BETTER = {"en": 0.82, "bn": 0.70}
N = 90


class Told(NamedTuple):
    code: int
    out: str
    err: str


Glotune = Callable[..., Told]


@pytest.fixture
def glotune(capsys: pytest.CaptureFixture[str]) -> Glotune:
    """The command line, in this process: exit code, stdout and stderr."""

    def run(*arguments: object) -> Told:
        capsys.readouterr()
        code: Any = 0
        try:
            command_line([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code or 0
        told = capsys.readouterr()
        return Told(int(code), told.out, told.err)

    return run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two variants with two seeds each."""
    folder = tmp_path / "runs"
    for seed in range(2):
        made(folder / f"base-{seed}", "base", BASE, seed)
        made(folder / f"better-{seed}", "better", BETTER, seed, **{"optimizer.learning_rate": 1e-4})
    return folder


def made(path: Path, name: str, languages: dict[str, float], seed: int, leaked: int = 0, **keys: Any) -> Path:
    choices = {key: keys.pop(key) for key in ("sources", "tested") if key in keys}
    make_run(path, name=name, languages=languages, seed=seed, n=N, epochs=2, leaked=leaked, keys=keys, **choices)
    return path


def table(glotune: Glotune, folder: Path, *options: object) -> str:
    """The comparison of a folder's runs as Markdown."""
    told = glotune("compare", folder, "--export", folder.parent / "table.md", *options)
    assert told.code == 0, told.err
    return (folder.parent / "table.md").read_text().partition("# Runs")[0]


def refused(glotune: Glotune, folder: Path, *words: str) -> None:
    told = glotune("compare", folder)
    assert told.code == 2
    for word in words:
        assert word in told.err, told.err


def row(text: str, name: str) -> list[str]:
    """The cells of a variant's row."""
    rows = [[cell.strip(" *").replace("\\", "") for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return next(cells for cells in rows if cells and cells[0] == name)


def forget_hashes(run: Path) -> None:
    """As an older version left it, or somebody who wants no hash to be checked."""
    change_manifest(run, outputs=None)


def change_manifest(run: Path, **changes: Any) -> None:
    path = run / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_predictions(run: Path, **columns: Callable[[pa.Table], Any]) -> None:
    path = run / "predictions/test.bn.parquet"
    table = pq.read_table(path)
    for name, changed in columns.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pa.array(changed(table), table.schema.field(name).type))
    pq.write_table(table, path)


def all_right(table: pa.Table) -> list[list[float]]:
    return np.eye(3)[table["label"].to_numpy()].tolist()


def test_untouched_runs_compare_without_a_word(glotune: Glotune, runs: Path) -> None:
    text = table(glotune, runs)
    for word in ("Conditions", "leaked", "hashes"):
        assert word not in text


# 1
def test_edited_predictions_are_refused(glotune: Glotune, runs: Path) -> None:
    change_predictions(runs / "better-0", probabilities=all_right)
    refused(glotune, runs, "better-0/predictions/test.bn.parquet is not what the run wrote", "glotune reproduce")
    forget_hashes(runs / "better-0")
    refused(glotune, runs, "better-0/metrics.json says macro_f1", "the predictions of the run say 1.0000")


# 2
@pytest.mark.extras
def test_edited_scores_are_refused_and_marked(glotune: Glotune, runs: Path) -> None:
    path = runs / "better-0/metrics.json"
    scores = json.loads(path.read_text())
    scores["test"]["bn"]["macro_f1"] = 0.99
    path.write_text(json.dumps(scores))
    told = glotune("report", runs / "better-0")
    assert told.code == 0
    marked = "metrics.json: not what the run wrote"
    assert marked in (runs / "better-0/report/report.md").read_text()
    assert marked in (runs / "better-0/report/report.html").read_text()
    refused(glotune, runs, "better-0/metrics.json is not what the run wrote", "manifest.json")
    forget_hashes(runs / "better-0")
    refused(glotune, runs, "better-0/metrics.json says macro_f1 0.9900")


def test_deleted_scores_and_an_edited_recipe_are_refused(glotune: Glotune, runs: Path) -> None:
    recipe = runs / "base-0/recipe.yaml"
    recipe.write_text(recipe.read_text().replace("max_length: 128", "max_length: 64"))
    refused(glotune, runs, "base-0/recipe.yaml is not what the run wrote")
    shutil.rmtree(runs / "base-0")
    (runs / "base-1/predictions/test.bn.parquet").unlink()
    refused(glotune, runs, "base-1/predictions/test.bn.parquet is not what the run wrote", "it is gone")


def test_runs_made_before_hashes_were_kept_are_accepted_and_said(glotune: Glotune, runs: Path) -> None:
    forget_hashes(runs / "base-0")
    assert "base-0 was made before hashes were kept" in table(glotune, runs)


# 3
def test_edited_texts_are_refused_although_the_manifests_agree(glotune: Glotune, runs: Path) -> None:
    change_predictions(runs / "better-0", text=lambda table: ["easy"] * len(table))
    refused(glotune, runs, "better-0/predictions/test.bn.parquet is not what the run wrote")
    forget_hashes(runs / "better-0")
    refused(glotune, runs, "invalid comparison", "different texts, rows or labels")


# 4, 5
@pytest.mark.extras
def test_oracle_selection_and_few_shot_labels_stand_in_the_row(glotune: Glotune, runs: Path) -> None:
    shutil.rmtree(runs / "base-1")
    shutil.rmtree(runs / "better-1")
    made(runs / "oracle", "oracle", BETTER, 0, **{"evaluate.on": "target"})
    made(runs / "shots", "shots", BETTER, 0, **{"data.few_shot": {"bn": 50}})
    text = table(glotune, runs)
    assert row(text, "oracle")[-1] == "oracle selection"
    assert row(text, "shots")[-1] == "few-shot: 50 bn"
    assert row(text, "better")[-1] == "–"
    assert "shots: it was trained on labelled texts of target languages too (50 of Bangla (bn))" in text
    glotune("report", runs / "shots")
    report = (runs / "shots/report/report.md").read_text()
    assert "no target label was used" not in report
    assert "50 of Bangla" in report


# 6
def test_training_on_the_target_language_stands_in_the_row(glotune: Glotune, runs: Path) -> None:
    made(runs / "translated", "translated", BETTER, 0, sources=("en", "bn"))
    text = table(glotune, runs, "--language", "bn")
    assert row(text, "translated")[-1] == "trained on bn"
    assert row(text, "base")[-1] == "–"


# 7
def test_a_restart_at_a_gentler_rate_stands_in_the_row(glotune: Glotune, runs: Path) -> None:
    change_manifest(runs / "better-1", deviations=["collapsed and restarted once with learning rate 3e-05"])
    assert row(table(glotune, runs), "better")[-1] == "restarted"


# 8
def test_the_split_that_chose_the_checkpoint_is_named_so(glotune: Glotune, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    made(folder / "a", "a-run", BASE, 0, tested=())
    made(folder / "b", "b-run", BETTER, 0, tested=(), **{"optimizer.learning_rate": 1e-4})
    assert row(table(glotune, folder, "--language", "en"), "a-run")[-1] == "chosen by these texts"
    assert "Conditions" not in table(glotune, folder, "--language", "bn"), "the source chose, not these"


# 9
def test_leaked_texts_are_left_out_beside_the_whole(glotune: Glotune, runs: Path) -> None:
    made(runs / "leaky", "leaky", BETTER, 0, leaked=30, **{"optimizer.learning_rate": 3e-4})
    text = table(glotune, runs)
    assert row(text, "leaky")[-1] == "30 leaked"
    assert "30 of 90 in Bangla (bn)" in text
    alone = table(glotune, runs, "--reference", "base")
    values = [macro_f1_without(runs / name, set(range(1, 31))) for name in ("base-0", "base-1")]
    assert row(alone, "base")[-3].startswith(f"{100 * np.mean(values):.1f} ±")
    assert row(alone, "base")[-2] == "reference"
    assert "[" in row(alone, "better")[-2]


def macro_f1_without(run: Path, rows: set[int]) -> float:
    found = load_run(run).predictions("test", "bn")
    left = None if found is None else found.without(np.isin(found.row_B, list(rows)))
    assert left is not None
    return score_outcomes(left).macro_f1


def test_a_test_set_that_was_trained_on_as_a_whole_leaves_nothing(glotune: Glotune, runs: Path) -> None:
    made(runs / "leaky", "leaky", BETTER, 0, leaked=N, **{"optimizer.learning_rate": 3e-4})
    text = table(glotune, runs)
    assert row(text, "leaky")[-1] == "90 leaked"
    assert "Without the leaked texts nothing can be said" in text


# 10
def test_another_max_length_stands_in_the_row(glotune: Glotune, runs: Path) -> None:
    made(runs / "short", "short", BASE, 0, **{"data.max_length": 64})
    text = table(glotune, runs)
    assert row(text, "short")[-1] == "max_length 64"
    assert row(text, "base")[-1] == "max_length 128"


# 11
def test_other_training_data_make_no_further_seed(glotune: Glotune, runs: Path) -> None:
    made(runs / "base-2", "base", BASE, 2)
    assert row(table(glotune, runs), "base")[2] == "3"
    change_training_data(runs / "base-2")
    text = table(glotune, runs)
    assert row(text, "base (base-0)")[2] == "2"
    assert row(text, "base (base-2)")[2] == "1"


def change_training_data(run: Path) -> None:
    data = json.loads((run / "manifest.json").read_text())["data"]
    change_manifest(run, data_hash="another", data=[{**data[0], "sha256": "cd" * 32}, *data[1:]])


# ---- studies ------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study whose runs are made already: its children copy them."""
    child = Path(__file__).parents[1] / "unit/study/made_child.py"
    monkeypatch.setattr(local, "CHILD", (str(child),))
    for name, languages, rate in (("good", {"en": 0.9, "bn": 0.9}, 1e-4), ("bad", {"en": 0.9, "bn": 0.6}, 2e-4)):
        for seed in range(4):
            path = made(
                tmp_path / f"ready/{name}-seed{seed}", name, languages, seed, **{"optimizer.learning_rate": rate}
            )
            (path / "report").mkdir()
            (path / "report/report.html").write_text("drawn")
    return tmp_path


CLAIMS = [
    {"name": "Good beats bad", "form": "superior", "margin": 0.05, "variants": ["good", "bad"]},
    {"name": "Bad keeps up", "form": "non_inferior", "margin": 0.02, "variants": ["bad", "good"]},
]


def studied(glotune: Glotune, folder: Path, **content: Any) -> str:
    """Carries the study out by the command line; its report."""
    train = write_csv(folder / "en.csv", sentences("en", 30))
    base = {"model": {"name": "folder"}, "data": {"train": {"en": str(train)}}}
    whole = {"name": "made", "recipe": base, "variants": {"bad": {}, "good": {"optimizer.learning_rate": 1e-4}}}
    (folder / "made.yaml").write_text(yaml.dump({**whole, "seeds": 3, "claims": CLAIMS, **content}))
    told = glotune("study", folder / "made.yaml", "--out", folder / "study", "--jobs", 2)
    assert told.code == 0, told.err
    return (folder / "study/report/report.md").read_text()


def plan_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "study/plan.json").read_text())
    return found


def answer_of(folder: Path) -> dict[str, Any]:
    """The answer to the first claim."""
    claims = json.loads((folder / "study/report/claims.json").read_text())["claims"]
    found: dict[str, Any] = claims[0]["answer"]
    return found


@pytest.mark.extras
def test_the_plan_is_locked_and_what_is_changed_stands_in_the_report(glotune: Glotune, study: Path) -> None:
    report = studied(glotune, study)
    locked = plan_of(study)
    assert (locked["runs"], locked["content"]["seeds"], len(locked["looks"])) == (0, [0, 1, 2], 1)
    assert locked["looks"][0]["level"] == pytest.approx(0.96)
    assert "plan locked" in report
    assert locked["hash"][:16] in report
    first = answer_of(study)

    changed = studied(glotune, study, seeds=[0, 1], claims=CLAIMS[:1])
    assert "3 / 3" in changed, "a dropped seed still counts"
    assert "| seeds | [0, 1, 2] | [0, 1] |" in changed
    assert "claim withdrawn: Bad keeps up" in changed
    assert "Withdrawn: Bad keeps up. It would be refuted" in changed
    assert [each["runs"] for each in plan_of(study)["amendments"]] == [6, 6]
    assert answer_of(study) == first, "Holm's correction still counts both"
    assert len(plan_of(study)["looks"]) == 1, "the same runs are no new look"

    more = studied(glotune, study, seeds=4)
    assert [round(look["level"], 6) for look in plan_of(study)["looks"]] == [0.96, 0.992]
    assert "look 2 at the claims" in more
    assert "claim added: Bad keeps up" in more

    content = plan_of(study)
    content["amendments"] = []
    (study / "study/plan.json").write_text(json.dumps(content))
    assert glotune("report", study / "study").code == 0
    assert "plan.json was changed by hand" in (study / "study/report/report.md").read_text()

    (study / "study/plan.json").unlink()
    assert glotune("report", study / "study").code == 0
    again = (study / "study/report/report.md").read_text()
    assert "The plan came after results: 8 runs were complete when it was locked" in again
    assert "stated when runs were complete already" in again


@pytest.mark.extras
def test_claims_stand_on_what_the_runs_wrote_and_name_their_conditions(glotune: Glotune, study: Path) -> None:
    keys = {"optimizer.learning_rate": 1e-4, "data.few_shot": {"bn": 50}}
    for seed in range(3):
        shutil.rmtree(study / f"ready/good-seed{seed}")
        path = made(study / f"ready/good-seed{seed}", "good", {"en": 0.9, "bn": 0.9}, seed, leaked=20, **keys)
        (path / "report").mkdir()
        (path / "report/report.html").write_text("drawn")
    report = studied(glotune, study)
    assert "Mind 'good': it was trained on labelled texts of target languages too (50 of Bangla (bn))" in report
    assert "Without the texts that leaked from training it is supported" in report
    assert "| few-shot: 50 bn, 20 leaked" in report

    manifest = study / "study/runs/bad-seed1/manifest.json"
    as_written = manifest.read_text()
    change_training_data(manifest.parent)
    report = studied(glotune, study)
    assert "Not compared:" in report
    assert "are seeds of 'bad', but their data differ" in report
    assert "The claims were not answered" in report

    manifest.write_text(as_written)
    change_predictions(manifest.parent, probabilities=all_right)
    report = studied(glotune, study)
    assert "bad-seed1/predictions/test.bn.parquet is not what the run wrote" in report
    assert "supported" not in report.partition("## Results")[0]
