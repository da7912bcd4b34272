"""What a study does with claims that make no sense, that turn to other languages, and with runs that are gone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from glotune.errors import UserError
from glotune.evidence import as_markdown
from glotune.recipe import yaml
from glotune.recipe.study import StudyRecipe
from glotune.recipe.study_loading import ResolvedStudy, load_study, resolve_study
from glotune.run.data import load_run
from glotune.study.directory import StudyDirectory
from glotune.study.locked_plan import keep_look, lock_plan, read_plan
from glotune.study.plan import refuse_unanswerable
from glotune.study.redraw import redraw_study
from glotune.study.run_study import run_study
from glotune.study.summarise import Summary
from made_runs import make_run
from small_runs import sentences, write_csv

CLAIM = {"name": "longer is better", "form": "superior", "variants": ["longer", "base"]}
LANGUAGES = {"en": 0.8, "bn": 0.7, "hi": 0.6}


def write_study(folder: Path, **keys: Any) -> dict[str, Any]:
    content = {
        "name": "made",
        "recipe": {
            "model": {"name": "glotune-nano"},
            "data": {"train": {"en": "en.csv"}, "test": {"bn": "bn.csv", "hi": "hi.csv"}},
        },
        "variants": {"base": {}, "longer": {"train.epochs": 4}},
        "seeds": [0, 1, 2],
        "claims": [CLAIM],
        **keys,
    }
    (folder / "study.yaml").write_text(yaml.dump({"scale": "full", **content}))
    return content


def add_run(folder: Path, name: str, variant: str, seed: int, kind: Any = "sound", **made: Any) -> None:
    keys = {"train.epochs": 4} if variant == "longer" else {}
    run = make_run(
        folder / "runs" / name,
        kind,
        **{
            "name": variant,
            "languages": LANGUAGES,
            "seed": seed,
            "epochs": 2,
            "n": 90,
            "leaked": 0,
            "keys": keys,
            **made,
        },
    )
    run.report.mkdir()
    (run.report / "report.html").write_text("the report")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for part in ("runs", "recipes"):
        (tmp_path / part).mkdir()
    lock_plan(resolve_study(StudyRecipe.model_validate(write_study(tmp_path))), StudyDirectory(tmp_path))
    for seed in range(3):
        for variant in ("base", "longer"):
            add_run(tmp_path, f"{variant}-seed{seed}", variant, seed)
    return tmp_path


def scores(summary: Summary) -> str:
    return as_markdown(next(table for table in summary.tables if table.title.startswith("Macro-F1 on test")))


def plan_notes(summary: Summary) -> str:
    return " ".join(next(table for table in summary.tables if table.title == "Plan").notes)


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"metric": "train_seconds", "margin": 0.2}, "at least 1: a factor"),
        ({"margin": 2}, "0.02 is 2 points"),
        ({"metric": "recall[3]"}, r"N is the place of a class, 0 to 2"),
        ({"metric": "recall[joy]"}, r"N is the place of a class, 0 to 2"),
        ({"metric": "recall"}, r"recall\[N\]"),
        ({"language": "enn"}, r"no text is in enn.*Did you mean 'en'"),
        ({"metric": "pearson"}, "no score of the task single_label"),
        ({"metric": "transfer_gap"}, "no score of the task single_label"),
    ],
)
def test_a_claim_that_makes_no_sense_is_told_before_anything_is_trained(
    tmp_path: Path, claim: dict[str, Any], words: str
) -> None:
    train = write_csv(tmp_path / "en.csv", sentences("en", 30))
    base = {"model": {"name": "folder"}, "data": {"train": {"en": str(train)}}}
    made = {"name": "made", "recipe": base, "variants": {"base": {}, "longer": {"train.epochs": 4}}, "seeds": 3}
    (tmp_path / "made.yaml").write_text(yaml.dump({**made, "claims": [{**CLAIM, **claim}]}))
    with pytest.raises(UserError, match=words):
        run_study(resolve_study(load_study(tmp_path / "made.yaml")), tmp_path / "study")
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("single_label", "macro_recall"),
        ("single_label", "weighted_precision"),
        ("single_label", "recall[1]"),
        ("single_label", "minority_recall"),
        ("multi_label", "roc_auc"),
        ("multi_label", "f1[1]"),
        ("score", "rmse"),
        ("score", "train_seconds"),
    ],
)
def test_a_claim_about_any_score_of_the_task_is_taken(task: str, metric: str) -> None:
    refuse_unanswerable(study_of(task, metric))


@pytest.mark.parametrize(
    ("task", "metric"),
    [("score", "minority_recall"), ("score", "f1[0]"), ("multi_label", "mcc"), ("single_label", "samples_f1")],
)
def test_a_claim_about_a_score_of_another_task_is_refused(task: str, metric: str) -> None:
    with pytest.raises(UserError, match=f"no score of the task {task}"):
        refuse_unanswerable(study_of(task, metric))


def study_of(task: str, metric: str) -> ResolvedStudy:
    columns = {} if task == "single_label" else {"labels": ["joy", "anger"]}
    base = {"task": task, "model": {"name": "folder"}, "data": {"train": {"en": "en.csv"}, "columns": columns}}
    made = {"name": "made", "recipe": base, "variants": {"base": {}, "longer": {"train.epochs": 4}}, "seeds": 3}
    kept = {"metric": "pearson" if task == "score" else "macro_f1", "claims": [{**CLAIM, "metric": metric}]}
    return resolve_study(StudyRecipe.model_validate({**made, **kept}))


@pytest.mark.parametrize(
    "variants", [["base", "base"], ["base", "longer", "base", "longer"], ["base", "base", "longer", "longer"]]
)
def test_a_claim_about_nothing_is_refused(study: Path, variants: list[str]) -> None:
    form = "superior" if len(variants) == 2 else "interaction"
    write_study(study, claims=[{**CLAIM, "form": form, "variants": variants}])
    with pytest.raises(UserError, match="compares something with itself"):
        redraw_study(study)


def test_one_claim_that_can_not_be_tested_leaves_the_others_their_answers(study: Path) -> None:
    senseless = [
        {**CLAIM, "name": "margin", "metric": "train_seconds", "margin": 0.2},
        {**CLAIM, "name": "class", "metric": "recall[7]"},
        {**CLAIM, "name": "language", "language": "xx"},
    ]
    write_study(study, claims=[*senseless, CLAIM])
    found = redraw_study(study).answers
    assert all(answer.reason.startswith("Not tested: ") for answer in found[:3])
    assert "a class from 0 to 2" in found[1].reason
    assert found[3].interval is not None
    write_study(study)
    summary = redraw_study(study)
    assert summary.answers[0].interval is not None, "withdrawn, they hold up nothing either"
    assert plan_notes(summary).count("Not tested: ") == 3


def add_times(study: Path, seconds: dict[str, list[float]]) -> None:
    for variant, of_seeds in seconds.items():
        for seed, each in enumerate(of_seeds):
            StudyDirectory(study).append_result({"run": f"{variant}-seed{seed}", "jobs": 1, "train_seconds": each})


def test_the_seeds_that_are_asked_for_would_settle_it_at_the_next_look(study: Path) -> None:
    add_times(study, {"longer": [10, 10.3, 11], "base": [14, 18, 25]})
    write_study(study, claims=[{**CLAIM, "metric": "train_seconds"}])
    first = redraw_study(study).answers[0]
    keep_look(StudyDirectory(study), [], "other runs", 0.992, {})
    again = redraw_study(study).answers[0]
    assert first.interval == again.interval, "the same runs are the same look"
    assert first.more_seeds is not None
    assert again.more_seeds is not None
    assert again.more_seeds > first.more_seeds > 0


def test_an_open_interval_is_told_and_kept_as_json(study: Path) -> None:
    """Two seeds, looked at the fifth time, say nothing about a factor."""
    shutil.rmtree(study / "runs/base-seed2")
    shutil.rmtree(study / "runs/longer-seed2")
    add_times(study, {"longer": [10, 10.3], "base": [22, 30]})
    for number in range(4):
        keep_look(StudyDirectory(study), [], str(number), 0.99, {})
    write_study(study, seeds=[0, 1], claims=[{**CLAIM, "metric": "train_seconds", "margin": 1.5}])
    summary = redraw_study(study)
    claims = as_markdown(next(table for table in summary.tables if table.title == "Claims"))
    assert "under × 0.001 to over × 1,000" in claims
    written = json.loads((study / "report/claims.json").read_text(), parse_constant=pytest.fail)
    (found,) = (each["answer"] for each in written["claims"])
    assert (found["interval"]["low"], found["interval"]["high"]) == (0.0, None)


def test_a_study_that_turns_to_another_language_asks_something_else(study: Path) -> None:
    first = redraw_study(study).answers[0]
    write_study(study, language="bn")
    summary = redraw_study(study)
    assert "stated when runs were complete already" in summary.answers[0].reason
    plan = read_plan(StudyDirectory(study))
    assert plan is not None
    assert [claim.language for claim in plan.withdrawn] == ["targets"]
    assert f"Withdrawn: {CLAIM['name']}." in plan_notes(summary), "as it was asked, it is tested on"
    assert first.improvement is not None
    assert f"{100 * first.improvement:+.2f} points" in plan_notes(summary)
    write_study(study, claims=[{**CLAIM, "language": "targets"}])
    assert "stated when" not in redraw_study(study).answers[0].reason, "said in other words it is the same"


def test_a_withdrawn_claim_about_a_variant_that_is_gone_says_so(study: Path) -> None:
    redraw_study(study)
    write_study(study, variants={"base": {}}, claims=[])
    assert "'longer' is no variant of the study any more" in plan_notes(redraw_study(study))


def test_a_variant_that_lost_a_seed_compares_with_nothing(study: Path) -> None:
    shutil.rmtree(study / "runs" / "longer-seed1")
    add_run(study, "longer-seed1", "longer", 1, "diverged")
    manifest = study / "runs/longer-seed1/manifest.json"
    manifest.write_text(manifest.read_text().replace("The loss at step 30", "DivergedTraining: the loss at step 30"))
    summary = redraw_study(study)
    table = scores(summary)
    assert "invalid: longer: seed 1 diverged" in table
    assert "diverged, sound" in table
    assert "longer is not compared (seed 1 diverged)" in table


def test_pooled_folds_keep_which_texts_leaked(study: Path) -> None:
    shutil.rmtree(study / "runs")
    for seed in range(3):
        for variant in ("base", "longer"):
            for fold in (1, 2):
                add_run(study, f"{variant}-seed{seed}-fold{fold}", variant, seed, data_seed=fold, leaked=5)
    write_study(study, folds=2)
    summary = redraw_study(study)
    pooled = load_run(study / "out_of_fold" / "base-seed0")
    rows = pooled.leaked["test"]
    answered = [load_run(study / "runs" / f"base-seed0-fold{fold}").leaked["test"]["bn"] for fold in (1, 2)]
    assert answered == [[1, 2, 3, 4, 5]] * 2
    assert set(rows) == {"bn", "hi"}
    assert rows["bn"] == [1, 2, 3, 4, 5], "of each text, by the model that answered it"
    assert "Without leaked texts" in scores(summary)
    assert "Without the texts that leaked from training" in summary.answers[0].reason


def test_a_source_language_that_stands_in_one_fold_keeps_all_its_texts(study: Path) -> None:
    shutil.rmtree(study / "runs")
    for seed in range(3):
        for variant in ("base", "longer"):
            for fold, tested, sources in ((1, ("en", "bn", "hi"), ("en",)), (2, ("en", "hi"), ("en", "bn"))):
                made = {"data_seed": fold, "tested": tested, "sources": sources}
                add_run(study, f"{variant}-seed{seed}-fold{fold}", variant, seed, **made)
    write_study(study, folds=2)
    redraw_study(study)
    pooled = load_run(study / "out_of_fold" / "base-seed0")
    assert pooled.sources == ["en", "bn"], "the second fold's run was trained on it"
    assert {code: pooled.metrics["test"][code]["n"] for code in LANGUAGES} == {"en": 180, "bn": 90, "hi": 90}
