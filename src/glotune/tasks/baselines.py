"""Cheap models beside the run: what knows the targets' frequencies alone, and TF-IDF of character n-grams with logistic
regression (of several labels one for each, answered as the run answers them).

Both see the training texts that the encoder saw, with the same row and class weights. On NusaX sentiment (Winata et al.
2023, table 5) logistic regression reaches 75.4 where XLM-R-base reaches 76.2: without the first figure the second says
little. Nothing here is drawn at random, and nothing of the training depends on it.
"""

from __future__ import annotations

import time
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from glotune.data.texts import LabelledTexts, TextData
from glotune.errors import UserError
from glotune.recipe import Recipe
from glotune.recipe.kinds import KINDS
from glotune.run.baselines import FILE, Baselines, Gain, Name
from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.predictions import answers_in, read_predictions
from glotune.run.records import Evaluation
from glotune.stats.bootstrap import paired_mean_difference
from glotune.stats.evaluation import INTERVAL_SEED, evaluation_of
from glotune.tasks.cross_entropy import class_frequencies, class_weights
from glotune.tasks.monitoring import monitored_languages
from glotune.tasks.of_recipe import class_outputs, reading_of
from glotune.tasks.records import SplitAnswers, prediction_tables, write_predictions
from glotune.tasks.tuning import Tuning, by_thresholds
from glotune.whole_files import sha256

MOST_CHARACTERS = 5_000_000
"""Training and held-out texts with more are left alone: about half a minute of one core."""
GRAMS = (1, 4)
INVERSE_PENALTY = 10.0
"""Of 1, 10 and 100 the best on NusaX's Acehnese, Indonesian and Javanese; single characters count where words are
written without blanks."""
RARE, ENOUGH = 2, 100
"""N-grams of one training text alone are left out, where there are enough texts to see which those are."""
LEAST = 1e-12
"""Probability of a class that no training text has."""
DESCRIPTION = (
    f"TF-IDF of character {GRAMS[0]}- to {GRAMS[1]}-grams within words, logistic regression (C = {INVERSE_PENALTY:g})"
)
Features = Callable[[LabelledTexts], Any]
"""The TF-IDF features of the texts of a split, a sparse matrix [N, F]."""
Said = Callable[[LabelledTexts], NDArray[np.float64]]
"""[N, C] what a cheap model says of the texts of a split, as a network's outputs."""


def record_baselines(directory: RunDirectory, recipe: Recipe, texts: TextData, log: Callable[[str], None]) -> None:
    """Fits both, scores them where the run was scored, and writes ``baselines/``; says how long it took.

    A run is worth keeping without them: what can't be fitted is said, in the log and in the report.
    """
    if not recipe.evaluate.baselines:
        return
    from sklearn.exceptions import ConvergenceWarning

    begun = time.monotonic()
    characters = sum(_characters(split) for split in texts.splits.values())
    if characters > MOST_CHARACTERS:
        found = Baselines(
            task=recipe.task,
            description=DESCRIPTION,
            left_out=f"the texts have {characters:,} characters, more than the {MOST_CHARACTERS:,} that take seconds",
        )
    else:
        try:
            with warnings.catch_warnings():
                # The last weights of a fit that stops early are as deterministic as the best ones.
                warnings.simplefilter("ignore", ConvergenceWarning)
                found = _fitted(directory, recipe, texts)
        except (ValueError, ArithmeticError, MemoryError) as error:
            found = Baselines(task=recipe.task, description=DESCRIPTION, left_out=f"they could not be fitted ({error})")
    seconds = time.monotonic() - begun
    directory.baselines.mkdir(exist_ok=True)
    content = found.model_copy(update={"wall": {"seconds": seconds}})
    write_atomically(directory.baselines / FILE, content.model_dump_json(indent=1) + "\n")
    if found.left_out is not None:
        log(f"baselines left out: {found.left_out}")
    else:
        no_skill = found.kind.no_skill.lower()
        log(f"baselines on the same {found.texts:,} training texts, in {seconds:.1f} s: {no_skill}; {DESCRIPTION}")


def _characters(split: LabelledTexts) -> int:
    columns = ["text", "text_pair"] if split.has_pairs else ["text"]
    return sum(int(pc.sum(pc.utf8_length(split.table[name])).as_py() or 0) for name in columns)


def _fitted(directory: RunDirectory, recipe: Recipe, texts: TextData) -> Baselines:
    train = texts.splits["train"]
    weights_N = np.ones(len(train)) if train.weights is None else train.weights.astype(np.float64)
    features, width = _tfidf(train, recipe.data.normalization)
    if texts.targets is None:
        constant, fitted = _of_classes(recipe, texts, features, weights_N)
    else:
        constant, fitted = _of_targets(recipe, texts, features, weights_N)
    scores: dict[Name, list[Evaluation]] = {"majority": [], "tfidf": []}
    held_out = [
        split for name in ("validation", "test") if (split := texts.splits.get(name)) is not None and len(split)
    ]
    for split, answers in zip(held_out, answers_of(recipe, texts, held_out, constant), strict=True):
        for language, rows in split.places_by_language().items():
            found = answers.outcomes(rows, split.labels)
            scores["majority"].append(
                evaluation_of(found, split.split, language, None, interval_metrics=found.kind.pair)
            )
    gains, files = [], {}
    for split, answers in zip(held_out, answers_of(recipe, texts, held_out, fitted), strict=True):
        _record(directory.baselines / "tfidf", texts, split, answers)
        for language in split.language_names:
            path = directory.baselines / "tfidf" / f"{split.split}.{language}.parquet"
            files[f"tfidf/{path.name}"] = sha256(path)
            theirs = read_predictions(path).in_order
            pair = theirs.kind.pair
            scores["tfidf"].append(evaluation_of(theirs, split.split, language, None, interval_metrics=pair))
        gains += _gains(directory, split.split, split.language_names, texts.source_languages, KINDS[recipe.task].metric)
    return Baselines(
        task=recipe.task,
        description=DESCRIPTION,
        texts=len(train),
        features=width,
        scores=scores,
        gains=gains,
        predictions=files,
    )


def answers_of(recipe: Recipe, texts: TextData, splits: Sequence[LabelledTexts], said: Said) -> list[SplitAnswers]:
    """What another model says of each split, decided on the validation texts as the run decides; these come first."""
    outputs = [said(split) for split in splits]
    named = monitored_languages(recipe.evaluate.on, texts.source_languages, texts.splits["validation"].language_names)
    rows = splits[0].places_in(named)
    if texts.targets is None:
        classes = [class_outputs(each, split) for each, split in zip(outputs, splits, strict=True)]
        if recipe.evaluate.tune_thresholds is None:
            return [*classes]
        keys = splits[0].groups[rows]
        tuning = Tuning(rows, splits[0].labels[rows], keys, named, recipe.evaluate.tune_thresholds)
        tuned = tuning.decide(classes[0])
        return [tuning.answered(classes[0], tuned), *(by_thresholds(each, tuned) for each in classes[1:])]
    reading = reading_of(recipe, texts)
    targets, keys = texts.targets[splits[0].labels[rows]], splits[0].groups[rows]
    decision = reading.decide(targets, outputs[0][rows], named)
    return [
        reading.answering(
            each,
            reading.text_losses(each, texts.targets[split.labels]),
            texts.targets,
            decision,
            (rows, targets, keys) if split is splits[0] else None,
        )
        for each, split in zip(outputs, splits, strict=True)
    ]


def _of_classes(
    recipe: Recipe, texts: TextData, features: Features, weights_N: NDArray[np.float64]
) -> tuple[Said, Said]:
    """The classes' frequencies, and logistic regression with the run's class weights."""
    train, num_labels = texts.splits["train"], len(texts.labels)
    weights_C = class_weights(recipe.loss.class_weights, train.labels, texts.labels, train.weights, train.shares)
    frequency_C = class_frequencies(train.labels, num_labels, weights_N, train.shares) / weights_N.sum()
    # With votes a text stands there once for each class, with its share of them: the gradient is that of soft labels.
    rows_M, labels_M = np.arange(len(train)), train.labels
    if train.shares is not None:
        rows_M, labels_M = np.nonzero(train.shares)
        weights_N = weights_N[rows_M] * train.shares[rows_M, labels_M]
    if weights_C is not None:
        weights_N = weights_N * weights_C[labels_M]
    model = _logistic(features(train)[rows_M], labels_M, weights_N)

    def constant(split: LabelledTexts) -> NDArray[np.float64]:
        return _logs(np.tile(frequency_C, (len(split), 1)))

    def fitted(split: LabelledTexts) -> NDArray[np.float64]:
        probabilities_NC = np.zeros((len(split), num_labels))
        probabilities_NC[:, model.classes_] = model.predict_proba(features(split))
        return _logs(probabilities_NC)

    return constant, fitted


def _logs(probabilities_NC: NDArray[np.float64]) -> NDArray[np.float64]:
    kept_NC = np.maximum(probabilities_NC, LEAST)
    return np.asarray(np.log(kept_NC / kept_NC.sum(axis=1, keepdims=True)))


def _of_targets(
    recipe: Recipe, texts: TextData, features: Features, weights_N: NDArray[np.float64]
) -> tuple[Said, Said]:
    """The mean of each target, and a model for each, on the texts that have it."""
    train, reading = texts.splits["train"], reading_of(recipe, texts)
    assert texts.targets is not None
    targets_NL = texts.targets[train.labels].astype(np.float64)
    is_there_NL = ~np.isnan(targets_NL)
    mean_L = (weights_N @ np.nan_to_num(targets_NL)) / (weights_N @ is_there_NL)
    known, cells_NL = features(train), reading.cell_weights(targets_NL.astype(np.float32))
    models = [
        reading.cheap_model(known[there_N], target_N[there_N], weights_N[there_N] * cells_N[there_N])
        for target_N, there_N, cells_N in zip(targets_NL.T, is_there_NL.T, cells_NL.T, strict=True)
    ]

    def constant(split: LabelledTexts) -> NDArray[np.float64]:
        return reading.as_outputs(np.tile(mean_L, (len(split), 1)))

    def fitted(split: LabelledTexts) -> NDArray[np.float64]:
        found = features(split)
        return reading.as_outputs(np.stack([model(found) for model in models], axis=1))

    return constant, fitted


def _logistic(features: Any, labels_N: NDArray[Any], weights_N: NDArray[np.float64]) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(features, labels_N, sample_weight=weights_N)


def _tfidf(train: LabelledTexts, normalization: str) -> tuple[Features, int]:
    """The features of a split as a function, and how many there are; the sides of a pair have their own."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    sides = ["text", "text_pair"] if train.has_pairs else ["text"]
    makers = {
        side: TfidfVectorizer(
            analyzer="char_wb", ngram_range=GRAMS, sublinear_tf=True, min_df=RARE if len(train) >= ENOUGH else 1
        ).fit(_column(train, side, normalization))
        for side in sides
    }

    def features(split: LabelledTexts) -> Any:
        return hstack([makers[side].transform(_column(split, side, normalization)) for side in sides]).tocsr()

    return features, sum(len(maker.vocabulary_) for maker in makers.values())


def _column(split: LabelledTexts, name: str, normalization: str) -> Sequence[str]:
    """The texts in the Unicode form that the encoder reads them in."""
    found = [value or "" for value in split.table[name].to_pylist()]
    if normalization == "none":
        return found
    form = "NFC" if normalization == "NFC" else "NFKC"
    return [unicodedata.normalize(form, text) for text in found]  # type: ignore[arg-type]


def _record(folder: Path, texts: TextData, split: LabelledTexts, answers: SplitAnswers) -> None:
    """Prediction records as the run's own, without the texts, which stand there."""
    folder.mkdir(parents=True, exist_ok=True)
    hashes = [source.sha256 for source in texts.sources]
    for language, rows in split.places_by_language().items():
        write_predictions(folder, prediction_tables(split, rows, hashes, answers, False), split.split, language)


def _gains(
    directory: RunDirectory, split: str, languages: Sequence[str], sources: Sequence[str], metric: str
) -> list[Gain]:
    """For each language, and for the mean of the source and of the target languages where there are several; of the
    languages in which the metric is defined: Pearson's r is not where all texts have one score."""
    ours = answers_in(directory.predictions, split, languages)
    theirs = answers_in(directory.baselines / "tfidf", split, languages)

    def gain(group: list[str]) -> Gain:
        pair = ({name: ours[name] for name in group}, {name: theirs[name] for name in group})
        found = paired_mean_difference(metric, *pair, seed=INTERVAL_SEED)
        return Gain(split=split, languages=group, value=found.estimate, interval=found.interval())

    gains = []
    for language in ours:
        if ours[language].is_finite:
            with suppress(UserError):
                gains.append(gain([language]))
    defined = [language for alone in gains for language in alone.languages]
    for is_source in (True, False):
        together = [language for language in defined if (language in sources) == is_source]
        if len(together) > 1:
            gains.append(gain(together))
    return gains
