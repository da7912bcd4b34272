"""The two sides of `benchmarks.zero_shot`, each in a process of its own: glotune, and Trainer at its best."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.side import Job, Result
from benchmarks.speed.world import LABELS, LANGUAGES, MAX_LENGTH
from benchmarks.tasks.emotions import write_rows
from glotune.stats.arrays import softmax
from glotune.stats.confusion import confusion_matrix, count_metric

SOURCE = LANGUAGES[0]
SETTINGS = {"learning_rate": 5e-5, "weight_decay": 0.01, "warmup_ratio": 0.1}
EPOCHS, BATCH_SIZE = 3, 32
METRIC = "macro_f1"
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
"""What BERT and XLM-R call it."""


@dataclass(frozen=True)
class Start:
    """What a run begins with."""

    encoder: Path
    texts: list[dict[str, str]]
    """Rows it is trained on."""


def start_of(job: Job, folder: Path) -> Start:
    """The encoder and the training texts, as they are; or what both sides need to take the same steps.

    For the same steps the encoder is written to `folder`, without dropout and with a head drawn from the seed, and the
    texts that would leave a last batch unfilled are left out, so that epochs laid end to end keep their batches.
    """
    texts = rows_of(Path(job["data"]), SOURCE, "train")
    if not job["same_steps"]:
        return Start(Path(job["encoder"]), texts)
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

    set_seed(job["seed"])
    named = {"id2label": dict(enumerate(LABELS)), "label2id": {name: index for index, name in enumerate(LABELS)}}
    model = AutoModelForSequenceClassification.from_pretrained(job["encoder"], **named, **NO_DROPOUT)
    model.save_pretrained(folder / "start")
    AutoTokenizer.from_pretrained(job["encoder"]).save_pretrained(folder / "start")
    return Start(folder / "start", texts[: len(texts) // BATCH_SIZE * BATCH_SIZE])


def rows_of(folder: Path, language: str, split: str) -> list[dict[str, str]]:
    """The rows of one language and split, in the order of the file."""
    with (folder / f"{language}.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def ours(job: Job) -> Result:
    """glotune: seconds of the training steps, and probabilities of the test texts."""
    import glotune
    from benchmarks.speed.ours import Watch, resolved, seconds_of_epochs
    from glotune.study.child import device_peak
    from glotune.verbs import train as spine

    folder = Path(job["data"])
    recipe: dict[str, Any] = {
        "name": "zero-shot",
        "data": {"labels": list(LABELS), "max_length": MAX_LENGTH},
        "optimizer": {name: SETTINGS[name] for name in ("learning_rate", "weight_decay")},
        "schedule": {"name": "linear", "warmup_ratio": SETTINGS["warmup_ratio"]},
        "train": {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "device": job["device"]},
        "evaluate": {"metric": METRIC, "baselines": False},
        "checkpoints": {"keep": 1},
        "seed": job["seed"],
    }
    with tempfile.TemporaryDirectory() as name:
        start, watch = start_of(job, Path(name)), Watch(None)
        recipe["model"] = {"name": str(start.encoder)} | ({"dropout": 0.0} if job["same_steps"] else {})
        held_out = [row for split in ("val", "test") for row in rows_of(folder, SOURCE, split)]
        recipe["data"]["train"] = {SOURCE: write_rows(Path(name) / f"{SOURCE}.csv", start.texts + held_out)}
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
    """The same with Trainer at its best: length grouping, fused AdamW, bf16 where the device has it.

    For the same steps it is given the texts in glotune's order, one epoch after the other.
    """
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
    from glotune.data.batches import epoch_order
    from glotune.engine.plan import cpu_has_bf16

    tokenizer = AutoTokenizer.from_pretrained(job["encoder"])
    folder = Path(job["data"])

    def encode(rows: Sequence[dict[str, str]]) -> Any:
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
    with tempfile.TemporaryDirectory() as name:
        start = start_of(job, Path(name))
        train, sampling = start.texts, "group_by_length"
        epoch_steps = math.ceil(len(train) / BATCH_SIZE)
        if job["same_steps"]:
            one = np.zeros(len(train), np.int16)  # a language
            orders = [epoch_order(one, job["seed"], epoch, None) for epoch in range(EPOCHS)]
            train, sampling = [start.texts[row] for row in np.concatenate(orders)], "sequential"
        set_seed(job["seed"])
        arguments = TrainingArguments(
            output_dir=name,
            per_device_train_batch_size=BATCH_SIZE,
            per_device_eval_batch_size=32,
            max_steps=EPOCHS * epoch_steps,
            learning_rate=SETTINGS["learning_rate"],
            weight_decay=SETTINGS["weight_decay"],
            warmup_steps=SETTINGS["warmup_ratio"],
            lr_scheduler_type="linear",
            optim="adamw_torch_fused",
            bf16=on_gpu or cpu_has_bf16(),
            train_sampling_strategy=sampling,
            eval_strategy="steps",
            save_strategy="steps",
            eval_steps=epoch_steps,
            save_steps=epoch_steps,
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
            model=AutoModelForSequenceClassification.from_pretrained(start.encoder, num_labels=len(LABELS)),
            args=arguments,
            train_dataset=encode(train),
            eval_dataset=encode(rows_of(folder, SOURCE, "val")),
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
            asked = encode(rows_of(folder, language, "test"))
            found = trainer.predict(asked)
            if list(found.label_ids) != [row["labels"] for row in asked]:
                raise RuntimeError(f"Trainer answered the texts of {language} in another order than they were given")
            logits[language] = found.predictions
    return {
        "seconds": sum(clock.epoch_seconds),
        "probabilities": {language: softmax(found.astype(np.float64)).tolist() for language, found in logits.items()},
        "device_bytes": held,
    }
