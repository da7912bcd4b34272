"""What a comparison must not say: a lead of one seed in bold, a macro score over a class that nobody could find."""

import json

import pytest

from glotune.errors import UserError
from glotune.evidence import as_markdown, compare_runs, variants_table
from glotune.report.audit import leak_effects
from glotune.report.content import gather
from glotune.report.figures.study import build_study_figures
from glotune.run.data import load_run
from made_runs import keep_hashes, make_run

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


def test_variants_of_one_name_keep_their_own_differences(tmp_path):
    """Two studies with the same variants and another rate: what is kept by name must not be another's."""
    runs = [
        make_run(
            tmp_path / study / f"{name}-seed{seed}", "sound", name=name, seed=seed, n=120,
            languages={"en": share, "bn": share}, keys={"optimizer.learning_rate": rate * (1 + (name == "longer"))},
        )
        for study, rate, shares in (("x", 1e-4, (0.6, 0.62)), ("y", 1e-3, (0.7, 0.9)))
        for name, share in zip(("base", "longer"), shares, strict=True)
        for seed in range(2)
    ]  # fmt: skip
    comparison = compare_runs(runs)
    assert [each.name for each in comparison.variants] == [
        "base (x/base-seed0)", "longer (x/longer-seed0)", "base (y/base-seed0)", "longer (y/longer-seed0)"
    ]  # fmt: skip
    base = comparison.mean(comparison.reference)
    for variant in comparison.variants[1:]:
        found = comparison.against_reference[variant.name]
        assert found.value == pytest.approx(comparison.mean(variant) - base)
    assert build_study_figures(comparison.runs)["final_comparison"].panels[0].rows[1].label == "longer (x/longer-seed0)"
    assert compare_runs(runs, reference="longer (y/longer-seed0)").reference.name == "longer (y/longer-seed0)"
    with pytest.raises(UserError, match="several variants have a run 'longer-seed0'"):
        compare_runs(runs, reference="longer-seed0")


def test_a_diverged_seed_is_not_got_rid_of_by_having_no_scores(tmp_path):
    runs = made(tmp_path, ["plain", "lora"], 3, strong=["lora"])
    runs[-1] = make_run(
        tmp_path / "lost",
        "diverged",
        name="lora",
        seed=102,
        n=120,
        languages={"en": 0.95, "bn": 0.95},
        keys={"optimizer.learning_rate": 2e-4},
    )
    comparison = compare_runs(runs)
    assert comparison.against_reference["lora"].reason == "lora: seed 102 diverged"
    assert comparison.best is comparison.reference
    assert comparison.percentage(comparison.variants[1]).percent is None
    assert "lost has no scores and is left out" in told(comparison)


def test_no_macro_score_is_told_without_a_class_that_leaked_whole(tmp_path):
    (plain, lora) = made(tmp_path, ["plain", "lora"], 1, n=60)
    for run in (plain, lora):
        table = load_run(run).predictions("test", "bn")
        rows = table.row_B[table.label_B == 0].tolist()
        run.data_profile.write_text(json.dumps({"leaked": {"test": {"bn": rows}}}))
        keep_hashes(run)
    assert compare_runs([plain, lora]).without_leaks is None
    assert "Without the leaked texts nothing can be said" in told(compare_runs([plain, lora]))
    assert compare_runs([plain, lora], "accuracy").without_leaks is not None
    (effect,) = leak_effects(load_run(plain))
    assert effect.without["macro_f1"] is None
    assert effect.without["accuracy"] is not None
    assert "macro_f1" not in effect.intervals
    assert gather(load_run(plain)).leaks.rows
