import numpy as np
import pytest

from glotune.errors import UserError
from glotune.evidence.claims import Claim, Variant, answer_claims, decide, weigh
from glotune.run.records import Verdict
from glotune.stats.arrays import outcomes
from glotune.stats.confusion import count_metric
from glotune.stats.seed_scores import influences, run_score, score_contrast, summarise_seeds

COLLAPSED = Verdict(status="collapsed", evidence=[])
GUESSING = Verdict(status="no skill", evidence=[])
SOUND = Verdict(status="sound", evidence=[])


def runs(accuracy, seeds=4, num_texts=800, spread=0.005, start=0, languages=("en",)):
    """Runs on the same texts, each right on its own share of them."""
    rng = np.random.default_rng(start)
    made = []
    for _ in range(seeds):
        share, run = accuracy + rng.normal(0, spread), {}
        for place, language in enumerate(languages):
            of_texts = np.random.default_rng(100 + place)
            labels, ease = of_texts.integers(3, size=num_texts), of_texts.random(num_texts)
            right = ease + rng.normal(0, 0.1, num_texts) < share
            predicted = np.where(right, labels, (labels + 1) % 3)
            run[language] = outcomes(labels, np.eye(3)[predicted])
        made.append(run)
    return made


def scored(name, accuracy, **settings):
    return Variant(name, outcomes_S=runs(accuracy, **settings))


def answer(claim, *variants):
    return answer_claims([(claim, variants)])[0]


def test_a_clear_lead_is_supported_and_its_reverse_refuted():
    good, poor = scored("12 layers", 0.8, start=1), scored("6 layers", 0.6, start=2)
    claim = Claim("12 beat 6", "superior", "macro_f1")
    found = answer(claim, good, poor)
    assert found.answer == "supported"
    assert found.improvement == pytest.approx(0.2, abs=0.03)
    assert found.interval.low > 0
    assert (found.more_seeds, found.seeds, found.scale) == (0, (4, 4), "difference")
    assert "points" in found.reason
    assert answer(claim, poor, good).answer == "refuted"


def test_no_difference_is_inconclusive_as_superior_and_supported_as_non_inferior():
    first, second = scored("a", 0.7, start=1), scored("b", 0.7, start=2)
    found = answer(Claim("a beats b", "superior", "accuracy"), first, second)
    assert found.answer == "inconclusive"
    assert found.more_seeds is None or found.more_seeds > 5
    assert answer(Claim("a is not worse", "non_inferior", "accuracy", margin=0.05), first, second).answer == "supported"


def test_worse_than_the_margin_is_refuted():
    claim = Claim("6 layers are not inferior by 2 points", "non_inferior", "macro_f1", margin=0.02)
    assert answer(claim, scored("6", 0.6, start=1), scored("12", 0.75, start=2)).answer == "refuted"


def test_an_interaction_is_a_difference_of_differences():
    variants = [
        scored("a", 0.80, start=1),
        scored("b", 0.60, start=2),
        scored("c", 0.65, start=3),
        scored("d", 0.64, start=4),
    ]
    found = answer(Claim("it depends", "interaction", "accuracy"), *variants)
    assert found.answer == "supported"
    assert found.improvement == pytest.approx(0.19, abs=0.04)


def test_a_variant_that_an_interaction_names_twice_is_one_sample():
    """The gain of 3 to 6 layers over that of 6 to 9 is twice 6 minus 3 minus 9, of one set of seeds of 6."""
    three, six, nine = (scored(name, share, start=place, spread=0.03) for place, (name, share) in enumerate(
        [("3", 0.6), ("6", 0.75), ("9", 0.78)], start=1))  # fmt: skip
    found = answer(Claim("it levels off", "interaction", "accuracy"), six, three, nine, six)
    by_hand = score_contrast([six.outcomes_S, three.outcomes_S, nine.outcomes_S], [2.0, -1.0, -1.0], "accuracy")
    assert found.improvement == pytest.approx(float(by_hand.estimate))
    assert found.interval.high - found.improvement == pytest.approx(float(by_hand.half_width(0.95)))


def test_a_variant_that_cancels_out_of_an_interaction_adds_no_noise():
    first, base, second = scored("a", 0.8, start=1), scored("base", 0.6, start=2, spread=0.1), scored("c", 0.7, start=3)
    both = answer(Claim("a gains more", "interaction", "accuracy"), first, base, second, base)
    alone = answer(Claim("a is better", "superior", "accuracy"), first, second)
    assert both.improvement == pytest.approx(alone.improvement)
    assert (both.interval.low, both.interval.high) == pytest.approx((alone.interval.low, alone.interval.high))


def test_a_speed_is_compared_by_ratio():
    fast, slow = Variant("frozen", values_S=[10.1, 9.8, 10.0]), Variant("full", values_S=[20.3, 19.9, 20.1])
    claim = Claim("at least 1.5 times as fast", "superior", "train_seconds", margin=1.5)
    found = answer(claim, fast, slow)
    assert found.answer == "supported"
    assert found.scale == "ratio"
    assert found.improvement == pytest.approx(2.0, rel=0.03)
    assert found.threshold == pytest.approx(1.5)
    assert "factor of 2" in found.reason
    assert answer(Claim("3 times", "superior", "train_seconds", margin=3), fast, slow).answer == "refuted"
    assert answer(Claim("more texts", "superior", "texts_per_second", margin=1.5), slow, fast).answer == "supported"


def test_the_seeds_that_would_settle_a_claim_are_held_to_the_next_look():
    """Against the level of the look just made, the chance of 80 % that is told would be one of 60 %."""
    first, second = scored("a", 0.71, start=1, seeds=3, spread=0.02), scored("b", 0.69, start=2, seeds=3, spread=0.02)
    weighed = [weigh(Claim("a beats b", "superior", "accuracy"), (first, second))]
    (told,) = decide(weighed, 0.96, 0.992)
    assert told.interval == decide(weighed, 0.96)[0].interval
    assert told.more_seeds == decide(weighed, 0.992)[0].more_seeds > decide(weighed, 0.96)[0].more_seeds > 0
    assert f"About {told.more_seeds} more seeds" in told.reason


@pytest.mark.parametrize("looks", [4, 8, 40])
def test_a_late_look_at_two_seeds_leaves_the_interval_of_a_factor_open(looks):
    fast, slow = Variant("frozen", values_S=[10, 10.3]), Variant("full", values_S=[22, 30])
    claim = Claim("at least 1.5 times as fast", "superior", "train_seconds", margin=1.5)
    found = answer_claims([(claim, (fast, slow))], level=1 - 0.05 * 0.8 * 0.2**looks)[0]
    assert found.answer == "inconclusive"
    assert (found.interval.low, found.interval.high) == (0.0, np.inf)
    assert "interval 0 to inf" in found.reason


def test_a_memory_that_is_always_the_same_needs_no_spread():
    less, more = Variant("dynamic", values_S=[60, 60, 60]), Variant("fixed", values_S=[100, 100, 100])
    found = answer(Claim("20 % less memory", "superior", "peak_memory_bytes", margin=1.25), less, more)
    assert (found.answer, found.more_seeds) == ("supported", 0)
    assert found.improvement == pytest.approx(100 / 60)
    assert (found.interval, found.p_value, found.adjusted_p_value) == (None, None, None)
    assert found.reason.endswith("claimed: above 1.25. No seed changes it: there is nothing to test.")


PARAMETERS = Claim("ten times fewer", "superior", "trainable_parameters", margin=10)


def counted(name, *values):
    return Variant(name, values_S=values, is_fixed=True)


@pytest.mark.parametrize(
    ("few", "many", "answered"),
    [
        ([2e6], [4e7], "supported"),  # one seed is enough: it is no sample
        ([2e6, 2e6, 2e6], [4e7, 4e7, 4e7], "supported"),
        ([2e6], [2e7], "refuted"),  # exactly ten times is not more
        ([2e6, 2e6], [1.9e7, 1.8e7], "refuted"),
        ([2e6, 2e6], [1.9e7, 2.1e7], "inconclusive"),  # the seeds' texts leave different vocabularies
    ],
)
def test_a_number_of_parameters_is_compared_without_a_p_value(few, many, answered):
    found = answer(PARAMETERS, counted("lora", *few), counted("full", *many))
    assert found.answer == answered
    assert (found.interval, found.p_value, found.adjusted_p_value, found.more_seeds) == (None, None, None, 0)
    assert found.improvement == pytest.approx(np.exp(np.mean(np.log(many)) - np.mean(np.log(few))))


def test_a_fixed_figure_that_is_no_worse_than_the_margin_is_supported_on_the_margin_itself():
    claim = Claim("at most a quarter more", "non_inferior", "trainable_parameters", margin=1.25)
    assert answer(claim, counted("a", 125.0), counted("b", 100.0)).answer == "supported"
    assert answer(claim, counted("a", 126.0), counted("b", 100.0)).answer == "refuted"


def test_a_number_of_parameters_takes_no_share_of_the_correction():
    first, second = Variant("a", values_S=[0.62, 0.66, 0.64]), Variant("b", values_S=[0.58, 0.60, 0.59])
    scores = (Claim("a beats b", "superior", "accuracy"), (first, second))
    refuted = (PARAMETERS, (counted("lora", 2e6), counted("full", 2e7)))
    among = answer_claims([refuted, scores])[1]
    assert among.p_value == among.adjusted_p_value
    assert among.interval.level == pytest.approx(0.95)


def test_whole_epochs_that_agree_are_not_taken_for_exact():
    fewer, more = Variant("v3", values_S=[6, 6, 6]), Variant("v1", values_S=[10, 10, 10])
    found = answer(Claim("30 % fewer epochs", "superior", "best_epoch", margin=1 / 0.7), fewer, more)
    assert found.interval.low < found.improvement < found.interval.high


def test_a_lower_loss_is_an_improvement():
    low, high = Variant("a", values_S=[0.50, 0.51, 0.49]), Variant("b", values_S=[0.70, 0.71, 0.69])
    assert answer(Claim("a loses less", "superior", "loss"), low, high).improvement == pytest.approx(0.2)


def test_the_rarest_class_is_found():
    labels = np.repeat([0, 1, 2], [300, 40, 300])

    def variant(name, recall, seed):
        rng = np.random.default_rng(seed)
        made = []
        for _ in range(3):
            predicted = np.where((labels == 1) & (rng.random(640) > recall), 0, labels)
            made.append({"en": outcomes(labels, np.eye(3)[predicted])})
        return Variant(name, outcomes_S=made)

    claim = Claim("better minority recall", "superior", "minority_recall")
    found = answer(claim, variant("weighted", 0.9, 1), variant("plain", 0.3, 2))
    assert found.answer == "supported"
    assert found.improvement == pytest.approx(0.6, abs=0.12)


@pytest.mark.parametrize(("unsound", "said"), [(COLLAPSED, "collapsed"), (GUESSING, "showed no skill")])
def test_an_unsound_run_leaves_nothing_to_test(unsound, said):
    broken = Variant("lora", outcomes_S=runs(0.4), verdicts_S=[SOUND, unsound, SOUND, SOUND])
    found = answer(Claim("lora is better", "superior", "accuracy"), broken, scored("full", 0.6))
    assert (found.answer, found.interval, found.more_seeds) == ("inconclusive", None, None)
    assert f"1 of 4 runs of 'lora' {said}" in found.reason


@pytest.mark.parametrize(("seeds", "more", "reason"), [(1, 2, "one seed"), (0, 3, "no finished run")])
def test_too_few_seeds_leave_nothing_to_test(seeds, more, reason):
    found = answer(Claim("a", "superior", "accuracy"), scored("a", 0.9, seeds=seeds), scored("b", 0.5))
    assert (found.answer, found.p_value, found.more_seeds) == ("inconclusive", None, more)
    assert reason in found.reason


def test_more_claims_need_more_evidence():
    first, second = Variant("a", values_S=[0.62, 0.66, 0.64]), Variant("b", values_S=[0.58, 0.60, 0.59])
    claim = Claim("a beats b", "superior", "accuracy")
    alone = answer(claim, first, second)
    among = answer_claims([(claim, (first, second))] * 5)
    assert alone.answer == "supported"
    assert {each.answer for each in among} == {"inconclusive"}
    assert among[0].adjusted_p_value == pytest.approx(5 * alone.p_value)
    assert among[0].interval.level == pytest.approx(0.99)


def test_answers_come_in_the_order_of_the_claims_and_agree_with_their_intervals():
    clear = (Claim("clear", "superior", "accuracy"), (scored("a", 0.9), scored("b", 0.5, start=5)))
    unclear = (Claim("unclear", "superior", "accuracy"), (scored("c", 0.7, start=6), scored("d", 0.7, start=7)))
    found = answer_claims([unclear, clear])
    assert [each.claim.name for each in found] == ["unclear", "clear"]
    for each in found:
        inside = each.interval.low <= each.threshold <= each.interval.high
        assert inside == (each.answer == "inconclusive")
        assert (each.adjusted_p_value <= 0.05) == (each.answer != "inconclusive")


def test_the_seeds_that_would_settle_a_claim_do():
    near = Claim("a beats b", "superior", "accuracy")
    first, second = [0.66, 0.70, 0.68], [0.66, 0.66, 0.63]
    before = answer(near, Variant("a", values_S=first), Variant("b", values_S=second))
    assert before.answer == "inconclusive"
    times = 1 + -(-before.more_seeds // 3)
    after = answer(near, Variant("a", values_S=first * times), Variant("b", values_S=second * times))
    assert after.answer == "supported"


def test_texts_that_limit_an_answer_are_named():
    close = [
        scored(name, share, num_texts=60, spread=0, start=start)
        for name, share, start in (("a", 0.72, 1), ("b", 0.70, 2))
    ]
    found = answer(Claim("a beats b", "superior", "accuracy", margin=0.01), *close)
    assert found.answer == "inconclusive"
    assert found.more_seeds is None
    assert "More test texts" in found.reason


@pytest.mark.parametrize(
    ("claim", "count", "message"),
    [
        (Claim("x", "superior", "acuracy"), 2, "Did you mean 'accuracy'"),
        (Claim("x", "interaction", "accuracy"), 2, "4 for a claim of the form interaction"),
        (Claim("x", "superior", "accuracy", margin=-0.1), 2, "at least 0"),
        (Claim("x", "superior", "train_seconds", margin=0.8), 2, "at least 1"),
        (Claim("x", "superior", "accuracy", margin=2), 2, "0.02 is 2 points"),
        (Claim("x", "superior", "recall[one]"), 2, r"recall\[N\]"),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(claim, count, message):
    with pytest.raises(UserError, match=message):
        answer(claim, *[Variant(str(place), values_S=[1.0, 1.1]) for place in range(count)])


def test_a_time_of_zero_is_refused():
    with pytest.raises(UserError, match="positive values"):
        answer(Claim("x", "superior", "train_seconds"), Variant("a", values_S=[0, 1]), Variant("b", values_S=[1, 1]))


def test_runs_on_other_texts_or_languages_are_refused():
    claim = Claim("x", "superior", "accuracy")
    other = Variant("b", outcomes_S=runs(0.7, languages=("en", "bn")))
    with pytest.raises(UserError, match="same languages"):
        answer(claim, scored("a", 0.7), other)
    with pytest.raises(UserError, match="same texts"):
        answer(claim, scored("a", 0.7), scored("b", 0.7, num_texts=700))


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "mcc", "loss", "roc_auc", "recall[1]"])
def test_influences_are_those_of_leaving_out_each_text(metric):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60)
    probabilities = rng.dirichlet(np.ones(3), size=60)
    made = outcomes(labels, probabilities, rng.random(60))
    full = run_score({"en": made}, metric)
    kept = [np.arange(60) != place for place in range(60)]
    left_out = [
        run_score({"en": outcomes(labels[keep], probabilities[keep], made.loss_B[keep])}, metric) for keep in kept
    ]
    expected = 59 * (np.mean(left_out) - np.array(left_out))
    assert np.allclose(influences(made, metric), expected, atol=1e-9)
    assert abs(np.mean(left_out) - full) < 0.01


def test_a_run_scores_the_mean_of_its_languages():
    run = runs(0.7, seeds=1, languages=("en", "bn"))[0]
    macro_f1 = count_metric("macro_f1")
    assert run_score(run, "macro_f1") == pytest.approx(
        np.mean([float(macro_f1(each.confusion_CC)) for each in run.values()])
    )


def test_a_summary_of_seeds():
    found = summarise_seeds(runs(0.7, seeds=5), "accuracy")
    assert found.seeds == 5
    assert found.interval.low < found.mean < found.interval.high
    assert 0 < found.spread < 0.03
    alone = summarise_seeds(runs(0.7, seeds=1), "accuracy")
    assert (alone.spread, alone.interval, alone.seeds) == (None, None, 1)


def test_more_languages_leave_less_to_the_texts():
    one = score_contrast([runs(0.7)], [1.0], "accuracy")
    four = score_contrast([runs(0.7, languages=("a", "b", "c", "d"))], [1.0], "accuracy")
    assert float(four.text_variance) == pytest.approx(float(one.text_variance) / 4, rel=0.1)
