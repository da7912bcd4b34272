"""Made-up finished runs, deterministic, written as a real run writes them: no model, no torch, any verdict.

``make_run(folder, "sound")`` returns a RunDirectory; see `Made` for what can be chosen.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glotune.recipe import Recipe, recipe_hash, recipe_yaml
from glotune.run.baselines import Baselines, Gain
from glotune.run.directory import RunDirectory
from glotune.run.record import DataSource
from glotune.run.records import Change, Evaluation, Manifest, Plan, RunStatus, Verdict
from glotune.stats.arrays import outcomes
from glotune.stats.bootstrap import paired_difference, score_intervals
from glotune.stats.resampling import combine
from glotune.stats.scores import score_outcomes
from made_course import TIME, Kind, Made, best_epoch, events_of, languages_of
from made_texts import HOSTILE, sentence


def make_run(folder: Path, kind: Kind = "sound", **choices: Any) -> RunDirectory:
    """Writes a made-up run to `folder` and opens it."""
    made = Made(kind=kind, **{"name": f"made-{kind}".replace(" ", "-"), **choices})
    recipe = _recipe(made)
    run = RunDirectory.create(folder, recipe_yaml(recipe), _manifest(made, recipe))
    run.append_events(events_of(made))
    run.data_profile.write_text(json.dumps(_profile(made), ensure_ascii=False, indent=1))
    if kind not in ("running", "diverged"):
        run.predictions.mkdir()
        run.write_metrics(
            [
                _evaluate(run, made, split, code)
                for split in ("validation", "test")
                for code in languages_of(made, split)
            ]
        )
    if made.baselines:
        run.baselines.mkdir()
        (run.baselines / "baselines.json").write_text(_baselines(made).model_dump_json(indent=1))
    keep_hashes(run)
    return run


def keep_hashes(run: RunDirectory) -> None:
    """What the run holds now, as what it wrote."""
    manifest = run.read_manifest().model_copy(update={"outputs": run.hashes()})
    run.manifest_path.write_text(manifest.model_dump_json(indent=1) + "\n")


def _baselines(made: Made) -> Baselines:
    """TF-IDF right as often as a run that gets six in ten of these languages' right answers; the largest class."""
    cheap = replace(made, kind="sound", seed=made.seed + 9, languages={k: 0.6 * v for k, v in made.languages.items()})
    cheap = replace(cheap, languages={**cheap.languages, **{code: made.languages[code] for code in made.sources}})
    scores: dict[Any, list[Evaluation]] = {"majority": [], "tfidf": []}
    gains = []
    for split in ("validation", "test"):
        parts = {}
        for code in languages_of(made, split):
            ours, theirs = (outcomes(*_predict(each, split, code)) for each in (made, cheap))
            always = outcomes(
                ours.label_B,
                np.tile([0.5, *[0.5 / (ours.num_labels - 1)] * (ours.num_labels - 1)], (ours.num_texts, 1)),
            )
            for name, found in (("majority", always), ("tfidf", theirs)):
                values, intervals = score_outcomes(found), score_intervals(found, ["macro_f1"], seed=0, resamples=400)
                scores[name].append(
                    Evaluation(
                        split=split, language=code, n=values.n, scores=values.values(), intervals=intervals,
                        confusion=[list(row) for row in values.confusion_CC],
                    )
                )  # fmt: skip
            parts[code] = paired_difference("macro_f1", ours, theirs, seed=0, resamples=400)
        targets = [code for code in parts if code not in made.sources]
        for group in [[code] for code in parts] + ([targets] if len(targets) > 1 else []):
            mean = combine([parts[code] for code in group], [1 / len(group)] * len(group))
            gains.append(Gain(split=split, languages=group, value=mean.estimate, interval=mean.interval()))
    return Baselines(description="TF-IDF made up", texts=480, features=3210, scores=scores, gains=gains)


def _recipe(made: Made) -> Recipe:
    from glotune.recipe import load_recipe

    base = Recipe.model_validate(
        {
            "name": made.name,
            "model": {"name": "FacebookAI/xlm-roberta-base", "layers": 6, "freeze": {"embeddings": True}},
            "data": {
                "train": {code: f"{code}.csv" for code in made.sources},
                "validation": {code: f"{code}_dev.csv" for code in languages_of(made, "validation")} or None,
                "test": {code: f"{code}.csv" for code in languages_of(made, "test")} or None,
                "source_languages": list(made.sources),
                "labels": list(made.labels),
            },
            "optimizer": {"learning_rate": 2e-4},
            "schedule": {"name": "cosine", "minimum_learning_rate": 2e-5, "warmup_ratio": 0.1},
            "train": {"epochs": made.epochs, "batch_size": 64},
            "seed": made.seed,
        }
    )
    return load_recipe(base, made.keys)


def _data_hash(made: Made) -> str:
    key = f"{made.data_seed} {made.n} {sorted(made.languages)} {made.labels}"
    return hashlib.sha256(key.encode()).hexdigest()


def _file_hash(made: Made, split: str, code: str) -> str:
    """Of the made-up file that the texts stand in."""
    return hashlib.sha256(f"{_data_hash(made)} {split} {code}".encode()).hexdigest()


VERDICTS = {
    "sound": Verdict(status="sound", evidence=["Every language is above its best one-class score."]),
    "collapsed": Verdict(
        status="collapsed",
        evidence=["On en the scores equal those of always saying 'negative' (accuracy, macro-F1 and weighted-F1)."],
        remedy=["Set schedule.warmup_ratio to 0.1", "Lower optimizer.learning_rate, e.g. to 2e-5"],
    ),
    "diverged": Verdict(
        status="diverged", evidence=["The loss at step 30 is not finite."], remedy=["Lower optimizer.learning_rate"]
    ),
    "no skill": Verdict(
        status="no skill",
        evidence=["en: not shown to be better than chance on 240 texts: MCC 0.010, and shuffled answers do as well."],
        remedy=["Check that labels and texts belong together."],
    ),
    "improving": Verdict(
        status="improving", evidence=["The best epoch is the last one."], remedy=["Raise train.epochs"]
    ),
    "overfit": Verdict(
        status="overfit",
        evidence=["Validation loss rose by 0.31 nats after epoch 2 while training loss fell."],
        remedy=["Set evaluate.patience: 2"],
    ),
}


def _manifest(made: Made, recipe: Recipe) -> Manifest:
    running = made.kind == "running"
    return Manifest(
        name=made.name,
        status=RunStatus.RUNNING if running else RunStatus.FAILED if made.kind == "diverged" else RunStatus.COMPLETE,
        reason="The loss at step 30 is not finite." if made.kind == "diverged" else None,
        created=TIME,
        updated=TIME,
        seed=made.seed,
        recipe_hash=recipe_hash(recipe),
        command=["glotune", "train", "xlmr-6-layers", "data.train=en.csv", f"seed={made.seed}"],
        labels=list(made.labels),
        source_languages=list(made.sources),
        plan=Plan(
            device="cpu",
            precision="bf16",
            attention="packed_sdpa",
            token_budget=4096,
            threads=2,
            reasons={"precision": "the processor computes bfloat16 natively"},
        ),
        changes=[
            Change(
                kind="truncate",
                description="kept the first 6 of 12 layers",
                parameters_before=278_045_955,
                parameters_after=235_518_723,
                trainable_before=278_045_955,
                trainable_after=235_518_723,
            ),
            Change(
                kind="freeze",
                description="froze the embeddings",
                parameters_before=235_518_723,
                parameters_after=235_518_723,
                trainable_before=235_518_723,
                trainable_after=43_120_899,
            ),
        ],
        versions={"glotune": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "python": "3.11.2"},
        hardware={"cpu": "made-up processor, 2 cores", "memory_bytes": 16 * 2**30},
        data=[DataSource(path=f"{code}.csv", sha256="ab" * 32, rows=2 * made.n) for code in made.languages],
        data_hash=_data_hash(made),
        best_step=None if running else best_epoch(made) * made.steps_per_epoch,
        verdict=VERDICTS.get(made.kind),
    )


# ---- predictions --------------------------------------------------------------------------------------


def _evaluate(run: RunDirectory, made: Made, split: str, code: str) -> Evaluation:
    label_B, probabilities_BC = _predict(made, split, code)
    loss_B = -np.log(np.maximum(probabilities_BC[np.arange(len(label_B)), label_B], 1e-12))
    _write(run, made, split, code, label_B, probabilities_BC, loss_B)
    found = outcomes(label_B, probabilities_BC, loss_B)
    scores, intervals = score_outcomes(found), score_intervals(found, seed=0, resamples=400)
    return Evaluation(
        split=split, language=code, n=scores.n, scores=scores.values(), intervals=intervals,
        per_class=scores.class_values(made.labels), confusion=[list(row) for row in scores.confusion_CC],
    )  # fmt: skip


def _predict(made: Made, split: str, code: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels [B] (the same for every run on this data) and probabilities [B, C] (of this run)."""
    n = made.n if split == "test" else made.n // 2
    languages = sorted(made.languages)
    words = [made.data_seed, languages.index(code), split == "test"]
    shares = np.linspace(1.2, 0.8, len(made.labels))
    label_B = np.random.default_rng(words).choice(len(made.labels), size=n, p=shares / shares.sum())
    rng = np.random.default_rng([*words, made.seed, 1])
    logits_BC = rng.normal(0, 1.1, size=(n, len(made.labels)))
    if made.kind == "collapsed":
        logits_BC = 0.02 * logits_BC
        logits_BC[:, 0] += 0.2
    elif made.kind != "no skill":
        right_B = np.random.default_rng([*words, 2]).random(n) + 0.12 * rng.standard_normal(n) < made.languages[code]
        told_B = np.where(
            right_B, label_B, (label_B + 1 + rng.integers(len(made.labels) - 1, size=n)) % len(made.labels)
        )
        logits_BC[np.arange(n), told_B] += 3.0
    probabilities_BC = np.exp(logits_BC - logits_BC.max(axis=1, keepdims=True))
    return label_B, (probabilities_BC / probabilities_BC.sum(axis=1, keepdims=True)).astype(np.float32)


def _write(
    run: RunDirectory,
    made: Made,
    split: str,
    code: str,
    label_B: np.ndarray,
    probabilities_BC: np.ndarray,
    loss_B: np.ndarray,
) -> None:
    n = len(label_B)
    texts: list[str | None] = [sentence(code, number) for number in range(n)]
    if made.hostile:
        texts = [HOSTILE[number % len(HOSTILE)] for number in range(n)]
    table = pa.table(
        {
            "data_hash": pa.array([_file_hash(made, split, code)] * n),
            "row": pa.array(np.arange(1, n + 1), pa.int32()),
            "split": pa.array([split] * n),
            "language": pa.array([code] * n),
            "label": pa.array(label_B, pa.int16()),
            "predicted": pa.array(probabilities_BC.argmax(axis=1), pa.int16()),
            "probabilities": pa.array(probabilities_BC.tolist(), pa.list_(pa.float32())),
            "loss": pa.array(loss_B, pa.float32()),
            "text": pa.array(texts if made.text else [None] * n, pa.string()),
            "text_pair": pa.array([None] * n, pa.string()),
            "text_key": pa.array(1000 * sorted(made.languages).index(code) + np.arange(n), pa.int64()),
            "id": pa.nulls(n, pa.string()),
        }
    )
    pq.write_table(table, run.predictions / f"{split}.{code}.parquet")


def _profile(made: Made) -> dict[str, Any]:
    """As glotune.data.profile writes it."""
    splits = {
        "train": {code: _language_profile(made, code, 4 * made.n) for code in made.sources},
        "validation": {code: _language_profile(made, code, made.n // 2) for code in languages_of(made, "validation")},
        "test": {code: _language_profile(made, code, made.n) for code in languages_of(made, "test")},
    }
    leaked = {code: list(range(1, made.leaked + 1)) for code in languages_of(made, "test") if code not in made.sources}
    return {
        "schema": 1,
        "data_hash": _data_hash(made),
        "labels": list(made.labels),
        "source_languages": list(made.sources),
        "max_length": 128,
        "splits": splits,
        "leaked": {"test": leaked if made.leaked else {}},
        "shared_texts": dict.fromkeys(leaked, made.leaked) if made.leaked else {},
        "skipped": {
            "count": 1,
            "by_reason": {"empty text": 1},
            "rows": [{"path": "en.csv", "row": 4, "reason": "empty text"}],
        },
        "warnings": ["1 row of en.csv skipped: empty text (row 4)"],
    }


def _language_profile(made: Made, code: str, rows: int) -> dict[str, Any]:
    tokens_per_word = 1.2 + 0.15 * sorted(made.languages).index(code)
    words = {"mean": 12.0, "median": 11.0, "p95": 24.0, "max": 31.0}
    return {
        "rows": rows,
        "label_counts": {label: rows // len(made.labels) for label in made.labels},
        "characters": {name: 5 * value for name, value in words.items()},
        "words": words,
        "duplicate_rows": 2,
        "conflicting_rows": 0,
        "tokens": {name: tokens_per_word * value + 2 for name, value in words.items()},
        "truncated_rows": 1,
        "truncation_rate": 1 / rows,
        "tokens_cut_rate": 0.001,
        "fertility": tokens_per_word,
        "unknown_token_rate": 0.0004,
    }


__all__ = ["Kind", "Made", "keep_hashes", "make_run"]
