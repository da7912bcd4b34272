import pytest

from glotune.errors import UserError
from glotune.recipe import yaml
from glotune.run.data import load_run
from glotune.study.redraw import is_study, redraw_study
from made_runs import make_run

LANGUAGES = {"en": 0.8, "bn": 0.65}


def make_reported(folder, **made):
    """A run that has a report already, so that none is drawn."""
    run = make_run(folder, "sound", **made)
    run.report.mkdir()
    (run.report / "report.html").write_text("the report")


@pytest.fixture
def study(tmp_path):
    folder = tmp_path / "study"
    (folder / "runs").mkdir(parents=True)
    (folder / "recipes").mkdir()
    content = {
        "scale": "full",
        "name": "made-study",
        "title": "A made-up study",
        "recipe": {
            "model": {"name": "glotune-nano"},
            "data": {"train": {"en": "en.csv"}, "test": {"bn": "bn.csv"}},
        },
        "variants": {"base": {}, "longer": {"train.epochs": 4}},
        "seeds": [0, 1],
        "claims": [
            {"name": "longer is better", "form": "superior", "metric": "macro_f1", "variants": ["longer", "base"]}
        ],
    }
    (folder / "study.yaml").write_text(yaml.dump(content))
    for seed in (0, 1):
        for name, epochs in (("base", 2), ("longer", 4)):
            made = {"name": name, "languages": LANGUAGES, "seed": seed, "epochs": epochs, "n": 60}
            make_reported(folder / "runs" / f"{name}-seed{seed}", **made)
    return folder


def test_a_study_is_reported_again_from_its_folder(study):
    assert is_study(study)
    assert not is_study(study / "runs")
    summary = redraw_study(study)
    text = summary.files.markdown.read_text()
    assert text.startswith("# A made-up study (on glotune-nano)\n")
    assert "longer is better" in text
    assert "## Pictures" in text
    assert summary.answers[0].answer in ("inconclusive", "supported", "refuted")


def test_runs_that_have_no_result_are_named(study):
    import shutil

    shutil.rmtree(study / "runs" / "longer-seed1")
    summary = redraw_study(study)
    assert "longer-seed1 has no result: not started" in summary.notes


def test_a_study_with_folds_is_reported_from_its_runs_alone(study):
    content = yaml.read(study / "study.yaml")
    (study / "study.yaml").write_text(yaml.dump({**content, "folds": 2, "seeds": [0, 1], "claims": []}))
    for seed in (0, 1):
        for name in ("base", "longer"):
            for fold in (1, 2):
                made = {"name": name, "languages": LANGUAGES, "seed": seed, "n": 60, "data_seed": fold}
                make_reported(study / "runs" / f"{name}-seed{seed}-fold{fold}", **made)
    summary = redraw_study(study)
    pooled = load_run(study / "out_of_fold" / "longer-seed1")
    assert pooled.metrics["test"]["en"]["n"] == 120
    assert "2-fold cross-validation" in summary.files.markdown.read_text()
    assert summary.tables[0].title == "Macro-F1 on test (bn)"
    assert summary.notes == ()
    folds = next(table for table in summary.tables if table.title == "Folds")
    assert [row[0].text for row in folds.rows][:2] == ["base-seed0-fold1", "base-seed0-fold2"]
    assert "../runs/base-seed0-fold1/recipe.yaml" in [cell.href for cell in folds.rows[0]]


def test_a_study_that_can_not_be_read_is_refused(study):
    content = yaml.read(study / "study.yaml")
    (study / "study.yaml").write_text(yaml.dump({**content, "seedz": 3}))
    with pytest.raises(UserError, match="seedz"):
        redraw_study(study)
