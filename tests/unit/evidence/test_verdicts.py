import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glotune.evidence import label_sets, ratings
from glotune.evidence.judgement import recorded_outcomes
from glotune.evidence.skill import independent
from glotune.evidence.trend import EpochPoint, TrainingHistory
from glotune.evidence.verdicts import judge
from glotune.recipe import load_recipe
from glotune.stats.arrays import outcomes
from glotune.stats.label_sets import LabelSets
from glotune.stats.ratings import Ratings
from made_runs import make_run

NAMES = ["negative", "neutral", "positive"]


def language(skill=0.7, num_texts=300, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, p=[0.3, 0.4, 0.3], size=num_texts)
    logits = rng.normal(size=(num_texts, 3)) + 3 * skill * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return outcomes(labels, probabilities, -np.log(probabilities[np.arange(num_texts), labels]))


def one_class(num_texts=300, seed=0, ranks=False):
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, p=[0.3, 0.4, 0.3], size=num_texts)
    logits = np.array([-0.3, 0.4, -0.3]) + rng.normal(0, 0.02, (num_texts, 3)) + 0.1 * ranks * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return outcomes(labels, probabilities, -np.log(probabilities[np.arange(num_texts), labels]))


def course(metrics, train=None, validation=None, texts=1000):
    train = train or [1 / (1 + place) for place in range(len(metrics))]
    validation = validation or [None] * len(metrics)
    points = [
        EpochPoint(place + 1, train_loss, validation_loss, metric)
        for place, (train_loss, validation_loss, metric) in enumerate(zip(train, validation, metrics, strict=True))
    ]
    return TrainingHistory(step_losses=np.repeat(train, 10).tolist(), epochs=points, validation_texts=texts)


SETTLED = course([0.5, 0.66, 0.70, 0.703, 0.702], validation=[0.9, 0.7, 0.66, 0.65, 0.655])


def test_a_settled_run_is_sound_and_says_why():
    verdict = judge(SETTLED, {"en": language(), "bn": language(0.5)}, NAMES, source_languages=["en"])
    assert verdict.status == "sound"
    assert verdict.remedy == []
    assert "0.7030, at epoch 4 of 5" in " ".join(verdict.evidence)


def test_of_equal_evaluations_the_first_is_named_whose_checkpoint_is_kept():
    verdict = judge(course([0.5, 0.7, 0.703, 0.702, 0.703]), {"en": language()}, NAMES)
    assert "0.7030, at epoch 3 of 5" in " ".join(verdict.evidence)


def test_a_collapse_states_the_one_class_scores_and_the_loss():
    verdict = judge(SETTLED, {"en": one_class()}, NAMES)
    text = " ".join(verdict.evidence)
    assert verdict.status == "collapsed"
    assert not verdict.is_sound
    assert "all 300 texts are called 'neutral'" in text
    assert "the scores of answering one class" in text
    assert "ln 3 = 1.0986" in text
    assert "don't order the texts either" in text
    assert any("warmup_ratio" in each for each in verdict.remedy)


def test_a_collapse_of_the_decision_alone_has_another_remedy():
    verdict = judge(SETTLED, {"en": one_class(ranks=True)}, NAMES)
    assert verdict.status == "collapsed"
    assert "still order the texts" in " ".join(verdict.evidence)
    assert "class_weights" in verdict.remedy[0]


def test_the_source_languages_decide_and_other_languages_are_named():
    verdict = judge(SETTLED, {"en": language(), "bn": one_class()}, NAMES, source_languages=["en"])
    assert verdict.status == "sound"
    assert "bn: all 300 texts are called 'neutral'" in " ".join(verdict.evidence)
    assert "few_shot" in verdict.remedy[0]


def test_without_the_source_all_languages_must_be_collapsed():
    assert judge(SETTLED, {"bn": one_class(), "sw": language()}, NAMES, source_languages=["en"]).status == "sound"
    verdict = judge(SETTLED, {"bn": one_class(), "sw": one_class(seed=1)}, NAMES, source_languages=["en"])
    assert verdict.status == "collapsed"


def test_small_languages_condemn_a_run_together():
    small = {name: one_class(20, seed=seed) for seed, name in enumerate(("bn", "hi", "sw"))}
    assert judge(SETTLED, small, NAMES).status == "collapsed"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_number_that_is_not_finite_is_a_divergence(bad):
    good = {"en": language()}
    steps = judge(TrainingHistory(step_losses=[1.0, bad, 1.0]), good, NAMES)
    assert steps.status == "diverged"
    assert f"step 2 of 3 is {bad}" in steps.evidence[0]
    assert judge(course([0.5, bad]), good, NAMES).status == "diverged"
    assert judge(course([0.5, 0.6], validation=[0.6, bad]), good, NAMES).status == "diverged"


def test_refused_steps_are_a_divergence_when_many_or_when_they_ended_it():
    good, losses = {"en": language()}, [0.5] * 990
    rare = judge(TrainingHistory(step_losses=losses, refused_steps=3), good, NAMES)
    assert rare.status == "sound"
    assert "3 of 993 steps were not finite" in rare.evidence[0]
    assert judge(TrainingHistory(step_losses=losses, refused_steps=30), good, NAMES).status == "diverged"
    ended = judge(TrainingHistory(step_losses=losses, refused_steps=1, was_stopped=True), {}, NAMES)
    assert ended.status == "diverged"
    assert "stopped after 991 steps" in ended.evidence[0]


def test_a_loss_that_chooses_the_checkpoint_can_still_improve():
    def losses(*values):
        return TrainingHistory(epochs=[EpochPoint(place, 0.5, value) for place, value in enumerate(values, start=1)])

    assert judge(losses(0.9, 0.8, 0.7), {"en": language()}, NAMES).status == "improving"
    assert judge(losses(0.9, 0.71, 0.70), {"en": language()}, NAMES).status == "sound"


def test_predictions_that_are_not_finite_are_a_divergence():
    broken = outcomes([0, 1], [[math.nan] * 3] * 2)
    verdict = judge(SETTLED, {"en": language(), "bn": broken}, NAMES)
    assert verdict.status == "diverged"
    assert "bn" in verdict.evidence[0]


def test_a_metric_that_still_climbs_is_improving():
    verdict = judge(course([0.40, 0.52, 0.61, 0.67]), {"en": language()}, NAMES)
    assert verdict.status == "improving"
    assert verdict.is_sound
    assert "0.0600 above the best before it" in verdict.evidence[0]


def test_a_loss_that_still_falls_supports_a_small_gain():
    falling = course([0.60, 0.65, 0.66], validation=[0.9, 0.8, 0.7])
    assert judge(falling, {"en": language()}, NAMES).status == "improving"
    settled = course([0.60, 0.65, 0.66], validation=[0.9, 0.71, 0.70])
    assert judge(settled, {"en": language()}, NAMES).status == "sound"


def test_one_epoch_is_judged_by_its_steps():
    rng = np.random.default_rng(0)
    falling = TrainingHistory(step_losses=list(np.linspace(1.1, 0.6, 60) + rng.normal(0, 0.05, 60)))
    flat = TrainingHistory(step_losses=list(0.6 + rng.normal(0, 0.05, 60)))
    assert judge(falling, {"en": language()}, NAMES).status == "improving"
    assert judge(flat, {"en": language()}, NAMES).status == "sound"


def test_a_validation_loss_that_rises_while_training_learns_by_heart_is_overfit():
    verdict = judge(
        course([0.60, 0.65, 0.64, 0.63], train=[0.9, 0.6, 0.3, 0.1], validation=[0.8, 0.7, 0.85, 1.1]),
        {"en": language()},
        NAMES,
    )
    assert verdict.status == "overfit"
    assert "lowest at epoch 2" in verdict.evidence[0]
    assert "patience" in verdict.remedy[0]


def test_a_rising_loss_with_a_rising_metric_is_not_overfit():
    gaining = course(
        [0.60, 0.65, 0.68, 0.70, 0.70], train=[0.9, 0.6, 0.3, 0.1, 0.05], validation=[0.8, 0.7, 0.75, 0.8, 0.82]
    )
    assert judge(gaining, {"en": language()}, NAMES).status == "sound"


def test_without_validation_losses_a_fallen_metric_shows_overfitting():
    fallen = course([0.60, 0.70, 0.66, 0.58], train=[0.9, 0.6, 0.3, 0.1])
    assert judge(fallen, {"en": language()}, NAMES).status == "overfit"
    wavering = course([0.60, 0.70, 0.69, 0.69], train=[0.9, 0.6, 0.3, 0.1])
    assert judge(wavering, {"en": language()}, NAMES).status == "sound"


def steps(*losses, metrics=(0.6, 0.6, 0.6)):
    return TrainingHistory(step_losses=losses, epochs=course(metrics).epochs, validation_texts=300)


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([1.2], "only 1 optimizer step, with the loss 1.2000 before it, against ln 3 = 1.0986"),
        ([1.1, 1.1, 1.12, 1.09], "only 4 optimizer steps, and its loss was 1.1050 in the second half of them, against"),
        ([1.0] * 9 + [0.8] * 10, "was still falling: 1.0000 in the first half of them, 0.8000 in the second"),
    ],
)
def test_a_run_of_few_steps_that_has_not_settled_is_improving(losses, told):
    verdict = judge(steps(*losses), {"en": language()}, NAMES)
    assert verdict.status == "improving"
    assert told in verdict.evidence[0]
    assert "train.batch_size" in verdict.remedy[0]


def test_a_run_of_few_steps_that_has_settled_is_sound():
    assert judge(steps(*[0.6] * 6), {"en": language()}, NAMES).status == "sound"


def test_a_loss_that_ended_at_that_of_guessing_is_not_sound():
    stuck, learned = steps(*[1.09] * 400), steps(*np.linspace(1.1, 1.0, 100), *[1.0] * 300)
    verdict = judge(stuck, {"en": language()}, NAMES)
    assert verdict.status == "improving"
    assert "1.0900 over the second half of 400 steps, against ln 3 = 1.0986 for guessing" in verdict.evidence[0]
    assert judge(learned, {"en": language()}, NAMES).status == "sound"


def test_a_loss_a_little_below_guessing_needs_scores_beyond_chance():
    little = steps(*np.linspace(1.1, 1.03, 100), *[1.03] * 300)
    assert judge(little, {"en": language()}, NAMES).status == "sound"
    verdict = judge(little, {"en": language(skill=0.0), "bn": language()}, NAMES, source_languages=["en"])
    assert verdict.status == "no skill"
    assert "1.0300 over the second half" in verdict.evidence[1]


def test_on_unbalanced_texts_a_loss_of_the_label_frequencies_at_chance_is_not_sound():
    """Measured: 72 and 28 %, loss 0.59 where ln 2 is 0.69: below guessing, and yet only the frequencies are known."""
    labels = np.repeat([0, 1], [216, 84])
    positive = np.where(np.arange(300) % 50 == 0, 0.55, 0.28)
    guessed = outcomes(labels, np.column_stack([1 - positive, positive]), np.full(300, 0.59))
    verdict = judge(steps(*[0.59] * 125), {"en": guessed}, ["good", "bad"], source_languages=["en"])
    assert verdict.status == "no skill"
    assert "against 0.5930 for knowing only how frequent each label is" in verdict.evidence[1]


def test_ten_steps_over_a_small_file_are_not_sound():
    """Measured: 449 texts, train.batch_size 512, 10 epochs; scores as of chance."""
    losses = [1.0944, 1.0877, 1.0853, 1.0758, 1.0680, 1.0659, 1.0562, 1.0476, 1.0525, 1.0492]
    assert judge(steps(*losses), {"en": language(skill=0.1)}, NAMES).status == "improving"


def test_a_collapse_after_a_few_steps_asks_for_more_steps():
    verdict = judge(steps(1.2, 1.1, 1.1), {"en": one_class()}, NAMES)
    assert verdict.status == "collapsed"
    assert "only 3 optimizer steps" in verdict.evidence[-1]
    assert "train.epochs" in verdict.remedy[0]
    assert "warmup" not in " ".join(verdict.remedy)


def test_a_language_that_is_guessed_is_named():
    verdict = judge(SETTLED, {"en": language(), "sw": language(skill=0.0)}, NAMES)
    assert verdict.status == "sound"
    assert verdict.evidence[-1] == ("Not shown to be better than chance (shuffled answers do as well too often): sw.")


def test_only_languages_that_get_several_answers_are_said_to():
    verdict = judge(SETTLED, {"en": language(), "ur": one_class()}, NAMES, source_languages=["en"])
    assert verdict.status == "sound"
    assert "More than one class is answered in en." in verdict.evidence
    assert any(sentence.startswith("ur: all 300 texts") for sentence in verdict.evidence)


def test_random_answers_are_no_skill_however_far_the_training_loss_fell():
    verdict = judge(SETTLED, {"en": language(skill=0.0), "bn": language()}, NAMES, source_languages=["en"])
    assert verdict.status == "no skill"
    assert not verdict.is_sound
    assert verdict.evidence[0].startswith("en: not shown to be better than chance on 300 texts: MCC ")
    assert "does not carry over to these" in verdict.evidence[-1]
    assert "glotune data check" in verdict.remedy[0]
    assert verdict.remedy[-1] == "Don't compare other runs with this one."


def test_copies_of_a_text_are_one_piece_of_evidence():
    """A weak result on 24 texts does not become skill by copying each of them eight times."""
    few = language(skill=0.3, num_texts=24, seed=4)
    copied = outcomes(
        np.repeat(few.label_B, 8), np.repeat(few.probabilities_BC, 8, axis=0), np.repeat(few.loss_B, 8),
        np.repeat(np.arange(24), 8),
    )  # fmt: skip
    assert judge(SETTLED, {"en": few}, NAMES).status == "no skill"
    assert judge(SETTLED, {"en": copied}, NAMES).status == "no skill"
    assert judge(SETTLED, {"en": replace(copied, cluster_B=None)}, NAMES).status != "no skill"


def test_translations_of_a_text_are_one_piece_of_evidence():
    few = language(skill=0.3, num_texts=24, seed=4)
    alike = replace(few, cluster_B=np.arange(24))
    codes = ["en", "de", "es", "fr", "it", "pt", "ar", "hi"]
    assert judge(SETTLED, dict.fromkeys(codes, alike), NAMES, source_languages=codes).status == "no skill"
    assert judge(SETTLED, dict.fromkeys(codes, few), NAMES, source_languages=codes).status != "no skill"
    kept = independent({"en": alike, "de": alike, "sw": few})
    assert sorted([*kept["en"], *kept["de"]]) == list(range(24)), "each in one of its languages, which take turns"
    assert len(kept["en"]) == len(kept["de"]) == 12
    assert len(kept["sw"]) == 24


def test_nine_minority_texts_all_missed_are_no_skill_and_four_found_are_one():
    """95 to 5 % of 180: too few other texts to prove a collapse by, and no reason to believe in skill."""
    labels = np.repeat([0, 1], [171, 9])
    history = course([0.49, 0.49, 0.49])

    def answered(found):
        positive = np.where(np.arange(180) >= 180 - found, 0.9, 0.05)
        return judge(history, {"en": outcomes(labels, np.column_stack([1 - positive, positive]))}, ["no", "yes"])

    assert answered(0).status == "no skill"
    assert answered(4).status == "sound"


def test_probabilities_that_order_the_texts_are_told_from_those_that_do_not():
    labels = np.repeat([0, 1], [171, 9])
    positive = np.where(labels == 1, 0.4, 0.02)
    ranks = outcomes(labels, np.column_stack([1 - positive, positive]))
    verdict = judge(course([0.49, 0.49, 0.49]), {"en": ranks}, ["no", "yes"])
    assert verdict.status == "no skill"
    assert "The probabilities know something of the labels" in " ".join(verdict.evidence)
    assert "--threshold" in verdict.remedy[0]


def test_the_best_of_many_evaluations_needs_more_proof_on_the_texts_that_chose_it():
    weak = {"en": language(skill=0.15, num_texts=120, seed=5)}
    many = course([0.4] * 40)
    assert judge(many, weak, NAMES).status == "sound"
    verdict = judge(many, weak, NAMES, chosen_on=["en"])
    assert verdict.status == "no skill"
    assert "the best of 40 evaluations" in verdict.evidence[0]


@pytest.mark.parametrize("texts", [6, 60])
def test_texts_too_few_to_show_anything_are_told_from_a_run_that_knows_nothing(texts):
    labels = np.arange(texts) % 2
    right = outcomes(labels, np.where(labels[:, None] == np.arange(2), 0.9, 0.1))
    verdict = judge(course([0.4] * 8), {"en": right}, ["good", "bad"], chosen_on=["en"])
    assert verdict.status == ("no skill" if texts == 6 else "sound")
    told = " ".join([*verdict.evidence, *verdict.remedy])
    assert ("Right answers to all of them would not show it either" in told) == (texts == 6)
    assert ("data.made_splits.validation (now 0.1)" in told) == (texts == 6)
    assert "does not carry over" not in told


def test_too_few_texts_of_several_labels_and_of_scores_are_told_too():
    truth_BL = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 1]])
    sets = LabelSets(truth_BL, np.where(truth_BL == 1, 0.9, 0.1), truth_BL == 1)
    assert (found := label_sets.no_skill({"en": sets}, 20)) is not None
    assert found.too_few
    numbers = Ratings(np.arange(4.0)[:, None], np.arange(4.0)[:, None])
    assert (found := ratings.no_skill({"en": numbers})) is not None
    assert found.too_few
    many = Ratings(np.arange(40.0)[:, None], np.arange(40.0)[::-1, None])
    assert (found := ratings.no_skill({"en": many})) is not None
    assert not found.too_few


def test_a_run_of_very_many_evaluations_can_show_skill():
    """No p-value lies below the step of the shuffles: a level below it would call every such run unskilled."""
    assert judge(course([0.4] * 400), {"en": language()}, NAMES, chosen_on=["en"]).status == "sound"


def test_one_class_of_texts_says_nothing_about_skill():
    alone = outcomes([1, 1, 1], [[0.2, 0.8, 0.0]] * 3)
    assert judge(SETTLED, {"en": alone}, NAMES).status == "sound"


def test_two_epochs_are_enough_to_be_past_the_best():
    two = course([0.66, 0.65], train=[0.9, 0.3], validation=[0.6, 0.8])
    assert judge(two, {"en": language()}, NAMES).status == "overfit"
    flat = course([0.66, 0.66], train=[0.9, 0.3], validation=[0.6, 0.61])
    assert judge(flat, {"en": language()}, NAMES).status == "sound"
    fell = course([0.66, 0.55], train=[0.9, 0.3])
    assert judge(fell, {"en": language()}, NAMES).status == "overfit"


def test_nothing_but_predictions_is_enough():
    assert judge(TrainingHistory(), {"en": language()}, NAMES).status == "sound"
    assert judge(TrainingHistory(), {}, NAMES).status == "sound"


def recipe(**keys):
    return load_recipe("xlmr-6-layers", {"data__train": "en.csv", **keys})


OVERFIT = course([0.60, 0.65, 0.64, 0.63], train=[0.9, 0.6, 0.3, 0.1], validation=[0.8, 0.7, 0.85, 1.1])


def advised(history, outcomes_by_language, **keys):
    return " ".join(judge(history, outcomes_by_language, NAMES, recipe=recipe(**keys)).remedy)


def test_overfitting_is_not_answered_by_what_the_recipe_sets():
    assert "set evaluate.patience" in advised(OVERFIT, {"en": language()})
    patient = advised(OVERFIT, {"en": language()}, evaluate__patience=3)
    assert "set evaluate.patience" not in patient
    assert "lower evaluate.patience from 3" in patient
    assert "patience" not in advised(OVERFIT, {"en": language()}, evaluate__patience=1)
    frozen = advised(OVERFIT, {"en": language()}, model__freeze={"embeddings": True, "layers": 2})
    assert "freeze more layers" in frozen
    assert "model.lora.rank" in advised(OVERFIT, {"en": language()}, model__lora={})


def test_a_collapse_is_not_answered_by_what_the_recipe_sets():
    weighted = advised(SETTLED, {"en": one_class(ranks=True)}, loss__class_weights="balanced")
    assert "class_weights" not in weighted
    assert weighted.startswith("The probabilities still order the texts")
    assert "threshold" not in advised(SETTLED, {"en": one_class(ranks=True)})  # three classes have none
    warm = advised(SETTLED, {"en": one_class()}, schedule__warmup_ratio=0.2, train__on_collapse="retry")
    assert "Raise schedule.warmup_ratio (now 0.2)" in warm
    assert "on_collapse" not in warm
    counted = advised(SETTLED, {"en": one_class()}, schedule__warmup_steps=50)
    assert "Raise schedule.warmup_steps (now 50)" in counted


def test_a_divergence_is_not_answered_by_what_the_recipe_sets():
    diverged = TrainingHistory(step_losses=[1.0, math.nan])
    clipped = advised(diverged, {}, train__precision="fp32")
    assert "max_grad_norm" not in clipped
    assert "fp32" not in clipped
    assert "Set optimizer.max_grad_norm: 1.0; try train.precision: fp32." in advised(
        diverged, {}, optimizer__max_grad_norm=None
    )


def test_early_stopping_is_said():
    waiting = recipe(train__epochs=20, evaluate__patience=2)
    verdict = judge(SETTLED, {"en": language()}, NAMES, recipe=waiting)
    assert "Training stopped early, at epoch 5 of 20: 2 evaluations without a better macro_f1" in " ".join(
        verdict.evidence
    )
    for other in (recipe(train__epochs=5, evaluate__patience=2), recipe(train__epochs=20)):
        assert "stopped early" not in " ".join(judge(SETTLED, {"en": language()}, NAMES, recipe=other).evidence)


def test_more_epochs_alone_do_not_help_a_run_that_patience_ends():
    advice = advised(steps(*[1.09] * 400), {"en": language()}, train__epochs=20, evaluate__patience=2)
    assert "Raise train.epochs (and evaluate.patience)" in advice


def test_texts_of_different_splits_do_not_belong_together(tmp_path):
    """One source language is tested, the other only validated; in each a text stands twice."""
    made = {"languages": {"en": 0.8, "de": 0.8}, "sources": ("en", "de"), "tested": ("en",), "validated": ("de",)}
    run = make_run(tmp_path / "run", **made, n=30, leaked=0)
    for path in run.prediction_files():
        table = pq.read_table(path)
        keys = table["text_key"].to_numpy().copy()
        keys[1] = keys[0]
        pq.write_table(table.set_column(table.column_names.index("text_key"), "text_key", pa.array(keys)), path)
    found = recorded_outcomes(run)
    assert {name: each.num_texts for name, each in found.items()} == {"en": 30, "de": 15}
    assert {name: len(kept) for name, kept in independent(found).items()} == {"en": 29, "de": 14}
