"""Does glotune reach Trainer's scores in languages without a label? English tweets, real weights, several seeds.

Both sides train on the English of UMSAB with the same settings, choose the best epoch by English validation, and answer
the test texts of all six languages; each in a process of its own, in turns (A B A B). The claim is stated before:
glotune's mean macro-F1 over the five other languages is not more than one point below Trainer's.
"""

from __future__ import annotations

import csv
import json
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.side import Job, Result, measure
from benchmarks.speed.world import LABELS, LANGUAGES, MAX_LENGTH
from glotune.stats.arrays import Outcomes, softmax
from glotune.stats.confusion import confusion_matrix, count_metric
from glotune.stats.seed_scores import run_score, score_contrast

SOURCE, TARGETS = LANGUAGES[0], LANGUAGES[1:]
SETTINGS = {"learning_rate": 5e-5, "epochs": 3, "batch_size": 32, "weight_decay": 0.01, "warmup_ratio": 0.1}
MARGIN = 0.01
"""Of macro-F1: what "not inferior" allows."""
METRIC = "macro_f1"


def run(data: Path, encoder: Path, seeds: int, threads: int, out: Path, device: str = "cpu") -> str:
    """Trains both sides with each seed that `out` does not hold yet, and returns the tables.

    Args:
        data: folder with ``umsab/LANGUAGE.csv``.
        encoder: a folder with real weights.
        out: JSON with what each seed gave; written after every pair, so that a second call goes on.
        device: ``cpu`` or ``cuda``, of both sides.
    """
    found: dict[str, dict[str, Result]] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    for seed in range(seeds):
        if str(seed) in found:
            continue
        job = {"data": str(data / "umsab"), "encoder": str(encoder), "seed": seed, "device": device}
        sides = ("glotune", "trainer") if seed % 2 == 0 else ("trainer", "glotune")
        pair = {side: measure({**job, "kind": f"zero-shot-{side}"}, threads) for side in sides}
        found[str(seed)] = pair
        out.write_text(json.dumps(found) + "\n", encoding="utf-8")
        print(f"seed {seed}: " + ", ".join(f"{side} {pair[side]['seconds']:.0f} s" for side in sides), flush=True)
    return tables(list(found.values()), gold(data / "umsab"))


def gold(folder: Path) -> dict[str, list[int]]:
    """Language -> label ids of its test texts."""
    return {
        language: [LABELS.index(row["label"]) for row in rows_of(folder, language, "test")] for language in LANGUAGES
    }


def rows_of(folder: Path, language: str, split: str) -> list[dict[str, str]]:
    """The rows of one language and split, in the order of the file."""
    with (folder / f"{language}.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def tables(pairs: Sequence[dict[str, Result]], gold_B: dict[str, list[int]]) -> str:
    """Markdown: scores by language over the seeds with intervals of the difference, the claim, and the times."""
    runs = {side: [_outcomes(pair[side], gold_B) for pair in pairs] for side in ("glotune", "trainer")}
    lines = ["| macro-F1, % | glotune | Trainer | difference, points |", "| --- | ---: | ---: | ---: |"]
    groups = {language: (language,) for language in LANGUAGES} | {"mean of the five others": TARGETS}
    for name, languages in groups.items():
        chosen = {side: [{each: run[each] for each in languages} for run in found] for side, found in runs.items()}
        means = [100 * statistics.mean(run_score(run, METRIC) for run in chosen[side]) for side in chosen]
        difference = score_contrast([chosen["glotune"], chosen["trainer"]], [1.0, -1.0], METRIC)
        gap, half = 100 * float(difference.estimate), 100 * float(difference.half_width(0.95))
        lines.append(
            f"| {name} | {means[0]:.1f} | {means[1]:.1f} | {gap:+.1f} [{gap - half:+.1f}, {gap + half:+.1f}] |"
        )
    held = gap - half > -100 * MARGIN
    lines += [
        "",
        f"Not inferior by {100 * MARGIN:g} point: {'supported' if held else 'not supported'}, {len(pairs)} seeds.",
    ]
    ratios = [pair["trainer"]["seconds"] / pair["glotune"]["seconds"] for pair in pairs]
    on_gpu = all(pair["glotune"].get("device_bytes") for pair in pairs)
    where, bytes_ = ("on the GPU", "device_bytes") if on_gpu else ("of the process", "peak_memory_bytes")
    peaks = [pair["glotune"][bytes_] / pair["trainer"][bytes_] for pair in pairs]
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    lines.append(f"Trainer's time over glotune's, by seed: {shown}; median {statistics.median(ratios):.2f}.")
    lines.append(f"Peak memory {where}, glotune's over Trainer's: {statistics.median(peaks):.2f}.")
    return "\n".join(lines)


def _outcomes(found: Result, gold_B: dict[str, list[int]]) -> dict[str, Outcomes]:
    return {
        language: Outcomes(np.asarray(gold_B[language]), np.asarray(probabilities))
        for language, probabilities in found["probabilities"].items()
    }


def ours(job: Job) -> Result:
    """glotune: seconds of the training steps, and probabilities of the test texts."""
    import glotune
    from benchmarks.speed.ours import Watch, resolved, seconds_of_epochs
    from glotune.study.child import device_peak
    from glotune.verbs import train as spine

    folder = Path(job["data"])
    recipe: dict[str, Any] = {
        "name": "zero-shot",
        "model": {"name": job["encoder"]},
        "data": {"train": {SOURCE: str(folder / f"{SOURCE}.csv")}, "labels": list(LABELS), "max_length": MAX_LENGTH},
        "optimizer": {name: SETTINGS[name] for name in ("learning_rate", "weight_decay")},
        "schedule": {"name": "linear", "warmup_ratio": SETTINGS["warmup_ratio"]},
        "train": {"epochs": SETTINGS["epochs"], "batch_size": SETTINGS["batch_size"], "device": job["device"]},
        "evaluate": {"metric": METRIC, "baselines": False},
        "checkpoints": {"keep": 1},
        "seed": job["seed"],
    }
    with tempfile.TemporaryDirectory() as name:
        watch = Watch(None)
        done = spine.train(resolved(recipe), out=Path(name) / "run", observer=watch, report=False)
        steps = [event for event in done.directory.events() if event.kind == "step"]
        held = device_peak(done.manifest.plan)
        predictor = glotune.load(done.path, device=job["device"], precision="fp32")
        answers = {
            language: predictor.predict_proba([row["text"] for row in rows_of(folder, language, "test")]).tolist()
            for language in LANGUAGES
        }
    return {"seconds": sum(seconds_of_epochs(steps, watch.ends)), "probabilities": answers, "device_bytes": held}


def trainers(job: Job) -> Result:
    """The same with Trainer at its best: length grouping, fused AdamW, bf16 where the device has it."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from benchmarks.speed.opponent import clock_of
    from glotune.engine.plan import cpu_has_bf16

    tokenizer = AutoTokenizer.from_pretrained(job["encoder"])
    folder = Path(job["data"])

    def encode(language: str, split: str) -> Any:
        rows = rows_of(folder, language, split)
        encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=MAX_LENGTH)
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": LABELS.index(row["label"])}
            for ids, mask, row in zip(encoded["input_ids"], encoded["attention_mask"], rows, strict=True)
        ]

    def macro_f1(found: Any) -> dict[str, float]:
        return {
            METRIC: float(count_metric(METRIC)(confusion_matrix(found[1], np.argmax(found[0], axis=1), len(LABELS))))
        }

    on_gpu = job["device"] == "cuda"
    set_seed(job["seed"])
    with tempfile.TemporaryDirectory() as name:
        arguments = TrainingArguments(
            output_dir=name,
            per_device_train_batch_size=SETTINGS["batch_size"],
            per_device_eval_batch_size=32,
            num_train_epochs=SETTINGS["epochs"],
            learning_rate=SETTINGS["learning_rate"],
            weight_decay=SETTINGS["weight_decay"],
            warmup_steps=SETTINGS["warmup_ratio"],
            lr_scheduler_type="linear",
            optim="adamw_torch_fused",
            bf16=on_gpu or cpu_has_bf16(),
            train_sampling_strategy="group_by_length",
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            metric_for_best_model=METRIC,
            save_total_limit=1,
            seed=job["seed"],
            use_cpu=not on_gpu,
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
        )
        trainer = Trainer(
            model=AutoModelForSequenceClassification.from_pretrained(job["encoder"], num_labels=len(LABELS)),
            args=arguments,
            train_dataset=encode(SOURCE, "train"),
            eval_dataset=encode(SOURCE, "val"),
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
            compute_metrics=macro_f1,
        )
        clock = clock_of(trainer)
        trainer.train()
        held = torch.cuda.max_memory_allocated() if on_gpu else None
        trainer.args.train_sampling_strategy = "sequential"  # or it would answer by length, in an order of its own
        logits = {}
        for language in LANGUAGES:
            asked = encode(language, "test")
            found = trainer.predict(asked)
            if list(found.label_ids) != [row["labels"] for row in asked]:
                raise RuntimeError(f"Trainer answered the texts of {language} in another order than they were given")
            logits[language] = found.predictions
    return {
        "seconds": sum(clock.epoch_seconds),
        "probabilities": {language: softmax(found.astype(np.float64)).tolist() for language, found in logits.items()},
        "device_bytes": held,
    }
