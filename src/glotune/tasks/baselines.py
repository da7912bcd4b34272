"""Cheap models beside the run: the majority class, and TF-IDF of character n-grams with logistic regression.

Both see the training texts that the encoder saw, with the same row and class weights. On NusaX sentiment (Winata et al.
2023, table 5) logistic regression reaches 75.4 where XLM-R-base reaches 76.2: without the first figure the second says
little. Nothing here is drawn at random, and nothing of the training depends on it.
"""

from __future__ import annotations

import time
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from glotune.data.texts import LabelledTexts, TextData
from glotune.recipe import Recipe
from glotune.run.baselines import FILE, METRIC, Baselines, Gain
from glotune.run.directory import RunDirectory, write_atomically
from glotune.run.predictions import answers_in, read_predictions
from glotune.stats.arrays import outcomes
from glotune.stats.bootstrap import paired_mean_difference
from glotune.stats.evaluation import INTERVAL_SEED, evaluation_of
from glotune.tasks.records import Outputs, prediction_tables, write_predictions
from glotune.tasks.single_label import class_weights
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
INTERVALS = ("accuracy", METRIC)

Probabilities = NDArray[np.float64]
"""[N, C] of the texts of a split."""


def record_baselines(directory: RunDirectory, recipe: Recipe, texts: TextData, log: Callable[[str], None]) -> None:
    """Fits both, scores them where the run was scored, and writes ``baselines/``; says how long it took.

    A run is worth keeping without them: what can't be fitted is said, in the log and in the report.
    """
    if not recipe.evaluate.baselines:
        return
    begun = time.monotonic()
    characters = sum(_characters(split) for split in texts.splits.values())
    if characters > MOST_CHARACTERS:
        found = Baselines(
            description=DESCRIPTION,
            left_out=f"the texts have {characters:,} characters, more than the {MOST_CHARACTERS:,} that take seconds",
        )
    else:
        try:
            found = _fitted(directory, recipe, texts)
        except (ValueError, ArithmeticError, MemoryError) as error:
            found = Baselines(description=DESCRIPTION, left_out=f"they could not be fitted ({error})")
    seconds = time.monotonic() - begun
    directory.baselines.mkdir(exist_ok=True)
    content = found.model_copy(update={"wall": {"seconds": seconds}})
    write_atomically(directory.baselines / FILE, content.model_dump_json(indent=1) + "\n")
    if found.left_out is not None:
        log(f"baselines left out: {found.left_out}")
    else:
        log(f"baselines on the same {found.texts:,} training texts, in {seconds:.1f} s: majority class; {DESCRIPTION}")


def _characters(split: LabelledTexts) -> int:
    columns = ["text", "text_pair"] if split.has_pairs else ["text"]
    return sum(int(pc.sum(pc.utf8_length(split.table[name])).as_py() or 0) for name in columns)


def _fitted(directory: RunDirectory, recipe: Recipe, texts: TextData) -> Baselines:
    train, num_labels = texts.splits["train"], len(texts.labels)
    weights_N = np.ones(len(train)) if train.weights is None else train.weights.astype(np.float64)
    weights_C = class_weights(recipe.loss.class_weights, train.labels, texts.labels, train.weights)
    frequency_C = np.bincount(train.labels, weights_N, num_labels) / weights_N.sum()
    if weights_C is not None:
        weights_N = weights_N * weights_C[train.labels]
    tfidf, features = _tfidf(train, weights_N, num_labels, recipe.data.normalization)
    constant_C = np.maximum(frequency_C, LEAST) / np.maximum(frequency_C, LEAST).sum()
    majority, cheap, gains, files = [], [], [], {}
    for split in ("validation", "test"):
        held_out = texts.splits.get(split)
        if held_out is None or not len(held_out):
            continue
        _record(directory.baselines / "tfidf", texts, held_out, tfidf(held_out))
        for language in held_out.language_names:
            path = directory.baselines / "tfidf" / f"{split}.{language}.parquet"
            files[f"tfidf/{path.name}"] = sha256(path)
            theirs = read_predictions(path).in_order
            cheap.append(evaluation_of(theirs, split, language, None, interval_metrics=INTERVALS))
            always = outcomes(theirs.label_B, np.tile(constant_C, (theirs.num_texts, 1)))
            majority.append(evaluation_of(always, split, language, None, interval_metrics=INTERVALS))
        gains += _gains(directory, split, held_out.language_names, texts.source_languages)
    return Baselines(
        description=DESCRIPTION,
        texts=len(train),
        features=features,
        scores={"majority": majority, "tfidf": cheap},
        gains=gains,
        predictions=files,
    )


def _tfidf(
    train: LabelledTexts, weights_N: NDArray[np.float64], num_labels: int, normalization: str
) -> tuple[Callable[[LabelledTexts], Probabilities], int]:
    """The fitted model as a function of a split, and how many features it has; the sides of a pair have their own."""
    from scipy.sparse import hstack
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    sides = ["text", "text_pair"] if train.has_pairs else ["text"]
    makers = {
        side: TfidfVectorizer(
            analyzer="char_wb", ngram_range=GRAMS, sublinear_tf=True, min_df=RARE if len(train) >= ENOUGH else 1
        )
        for side in sides
    }
    features: Any = hstack([makers[side].fit_transform(_column(train, side, normalization)) for side in sides]).tocsr()
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its last weights are as deterministic as the best ones
        model.fit(features, train.labels, sample_weight=weights_N)

    def answer(split: LabelledTexts) -> Probabilities:
        columns = [makers[side].transform(_column(split, side, normalization)) for side in sides]
        probabilities_NC = np.full((len(split), num_labels), LEAST)
        probabilities_NC[:, model.classes_] = np.maximum(model.predict_proba(hstack(columns).tocsr()), LEAST)
        return np.asarray(probabilities_NC / probabilities_NC.sum(axis=1, keepdims=True))

    return answer, int(features.shape[1])


def _column(split: LabelledTexts, name: str, normalization: str) -> Sequence[str]:
    """The texts in the Unicode form that the encoder reads them in."""
    found = [value or "" for value in split.table[name].to_pylist()]
    if normalization == "none":
        return found
    form = "NFC" if normalization == "NFC" else "NFKC"
    return [unicodedata.normalize(form, text) for text in found]  # type: ignore[arg-type]


def _record(folder: Path, texts: TextData, split: LabelledTexts, probabilities_NC: Probabilities) -> None:
    """Prediction records as the run's own, without the texts, which stand there."""
    folder.mkdir(parents=True, exist_ok=True)
    logits_NC = np.log(probabilities_NC)
    outputs = Outputs(logits_NC, -logits_NC[np.arange(len(split)), split.labels])
    hashes = [source.sha256 for source in texts.sources]
    for place, language in enumerate(split.language_names):
        rows = np.flatnonzero(split.language_ids == place)
        write_predictions(folder, prediction_tables(split, rows, hashes, outputs, False), split.split, language)


def _gains(directory: RunDirectory, split: str, languages: Sequence[str], sources: Sequence[str]) -> list[Gain]:
    """For each language, and for the mean of the source and of the target languages where there are several."""
    ours = answers_in(directory.predictions, split, languages)
    theirs = answers_in(directory.baselines / "tfidf", split, languages)
    finite = [language for language in ours if ours[language].is_finite]
    groups = [[language] for language in finite]
    for is_source in (True, False):
        together = [language for language in finite if (language in sources) == is_source]
        groups += [together] if len(together) > 1 else []
    gains = []
    for group in groups:
        pair = ({name: ours[name] for name in group}, {name: theirs[name] for name in group})
        found = paired_mean_difference(METRIC, *pair, seed=INTERVAL_SEED)
        gains.append(Gain(split=split, languages=group, value=found.estimate, interval=found.interval()))
    return gains
