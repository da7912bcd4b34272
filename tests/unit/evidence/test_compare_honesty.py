"""What a comparison must not say: a lead of one seed in bold, a macro score over a class that nobody could find."""

import pytest

from glotune.errors import UserError
from glotune.evidence import as_markdown, compare_runs, variants_table
from glotune.report.content import gather
from glotune.run.data import load_run
from made_runs import make_run

SAME = {"en": 0.74, "bn": 0.66}


def made(folder, names, seeds, strong=(), n=120):
    return [
        make_run(
            folder / f"{name}-{seed}", "sound", name=name, seed=100 * place + seed, n=n,
            languages={"en": 0.95, "bn": 0.95} if name in strong else SAME,
            keys={"optimizer.learning_rate": 1e-4 * (place + 1)},
        )
        for place, name in enumerate(names) for seed in range(seeds)
    ]  # fmt: skip


def told(comparison):
    return as_markdown(variants_table(comparison))


def test_a_single_seed_is_never_bold_and_the_page_says_why(tmp_path):
    comparison = compare_runs(made(tmp_path, ["plain", "lora"], 1, strong=["lora"]))
    difference = comparison.against_reference["lora"]
    assert difference.adjusted_p < 0.01
    assert difference.test == "a permutation test"
    assert not comparison.best_is_beyond_chance
    assert "have one seed, and the lead of one seed says nothing about others" in told(comparison)
    assert "is about these two models on other texts" in told(comparison)


def test_the_accuracy_of_two_single_runs_is_tested_by_mcnemar(tmp_path):
    comparison = compare_runs(made(tmp_path, ["plain", "lora"], 1), "accuracy")
    assert comparison.against_reference["lora"].test == "McNemar's exact test"


def test_two_seeds_can_be_bold(tmp_path):
    assert compare_runs(made(tmp_path, ["plain", "lora"], 2, strong=["lora"], n=600)).best_is_beyond_chance


def test_equal_variants_show_nothing_and_what_they_could_have_shown(tmp_path):
    comparison = compare_runs(made(tmp_path, ["plain", "other"], 3))
    assert not comparison.best_is_beyond_chance
    assert comparison.against_reference["other"].could_show > 0.01
    assert "These seeds and texts show a difference of" in told(comparison)


def test_the_best_of_many_says_what_its_lead_shrinks_to(tmp_path):
    text = told(compare_runs(made(tmp_path, list("abcd"), 2)))
    assert "is the best of 4: its lead over the mean of the others" in text
    assert "Tsamardinos" in text
    assert "is the best of" not in told(compare_runs(made(tmp_path / "two", list("ab"), 2)))


def test_a_macro_score_over_an_absent_class_is_refused(tmp_path):
    runs = made(tmp_path, ["plain", "lora"], 1, n=4)
    with pytest.raises(UserError, match="a class that nobody could find"):
        compare_runs(runs)
    assert "No test text at all" in told(compare_runs(runs, "accuracy"))


def test_scores_that_a_class_of_few_texts_enters_are_marked(tmp_path):
    (run,) = made(tmp_path, ["plain"], 1, n=24)
    content = gather(load_run(run))
    assert all("†" in row[3] and "†" not in row[2] for row in content.results["test"].rows)
    assert any("†" in row[1] for row in content.per_class.rows)
    assert any(line.startswith("† Fewer than 10 test texts") for line in content.notices)
    (run,) = made(tmp_path / "many", ["plain"], 1)
    assert not any("†" in line for line in gather(load_run(run)).notices)
