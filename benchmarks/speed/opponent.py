"""Hugging Face's Trainer: as the recipes' authors ran it, and at its best."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.rows import TrainingRow
from benchmarks.speed.side import Job, Result
from benchmarks.speed.world import LABELS, MAX_LENGTH, World, read

AUTHORS_PER_DEVICE = 32
"""Of the authors' setting: with every text padded alike, larger ones gain nothing on a CPU and take more memory."""


def authors_job(row: TrainingRow, world: World) -> Job:
    """Fixed length, fp32, plain AdamW. One step over a few texts: every text costs the same, padded as it is."""
    texts = max(row.fixed_texts, min(row.batch_size, AUTHORS_PER_DEVICE))
    batch = min(row.batch_size, texts)
    return {
        **_job(row, world, world.sample(texts)),
        "fixed": True,
        "bf16": False,
        "optim": "adamw_torch",
        "per_device": min(AUTHORS_PER_DEVICE, batch),
        "batch_size": batch,
    }


def best_job(
    row: TrainingRow, world: World, per_device: int, texts: int | None = None, epochs: int = 1
) -> Job:  # fmt: skip
    """Dynamic padding, length grouping, fused AdamW, accumulation up to the effective batch, and bf16 where the
    processor computes in it: elsewhere bf16 is the slower one, many times over."""
    from glotune.engine.plan import cpu_has_bf16

    return {
        **_job(row, world, world.sample(texts or row.texts)),
        "fixed": False,
        "bf16": cpu_has_bf16(),
        "optim": "adamw_torch_fused",
        "per_device": per_device,
        "batch_size": row.batch_size,
        "no_frozen_dropout": True,
        "epochs": epochs,
    }


def _job(row: TrainingRow, world: World, train: Path) -> Job:
    return {
        "kind": "train-trainer",
        "row": row.name,
        "model": {"name": str(world.encoder), **row.model},
        "train": str(train),
        "learning_rate": row.learning_rate,
        "steps": None,
        "order": None,
        "dropout": None,
        "epochs": 1,
    }


def train(job: Job) -> Result:
    """Some epochs (or so many steps) over the job's texts.

    Returns:
        seconds: from the start of training to the end of the last step; epoch_seconds: of that, in each epoch;
        optimizer_seconds: in the updates;
        losses: of the steps, summed over their micro-batches; texts, tokens, steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer, data = make_trainer(job, Path(folder))
        clock = clock_of(trainer)
        trainer.train()
    accumulated = job["batch_size"] // job["per_device"]
    losses = trainer.micro_losses
    return {
        "seconds": clock.last - clock.started,
        "epoch_seconds": clock.epoch_seconds,
        "optimizer_seconds": clock.updating,
        "losses": [sum(losses[start : start + accumulated]) for start in range(0, len(losses), accumulated)],
        "texts": min(trainer.state.global_step * job["batch_size"], job["epochs"] * len(data)),
        "tokens": int(sum(data["length"])),
        "steps": trainer.state.global_step,
    }


def whole_run(job: Job) -> Result:
    """Loading, steps, a checkpoint, saving. What counts is the process's peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        trainer, _ = make_trainer(job, Path(folder), checkpoints=True)
        trainer.train()
        trainer.save_model(f"{folder}/model")
        saved = sum(file.stat().st_size for file in Path(folder, "model").iterdir())
    trainable = sum(value.numel() for value in trainer.model.parameters() if value.requires_grad)
    return {"saved_bytes": saved, "trainable": trainable}


def make_trainer(job: Job, folder: Path, *, checkpoints: bool = False) -> tuple[Any, Any]:
    """(Trainer, its data set) for a job."""
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(job["model"]["name"])
    data = dataset_of(job, tokenizer)
    sampling = "sequential" if job["order"] else "random" if job["fixed"] else "group_by_length"
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=job["per_device"],
        gradient_accumulation_steps=job["batch_size"] // job["per_device"],
        num_train_epochs=job["epochs"],
        max_steps=job["steps"] or -1,
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=0.01,
        optim=job["optim"],
        bf16=job["bf16"],
        train_sampling_strategy=sampling,
        save_strategy="steps" if checkpoints else "no",
        save_steps=2,
        save_total_limit=1,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not job.get("cuda", False),
        seed=0,
    )

    class Corrected(Trainer):
        """Trainer that divides an accumulated loss by its number of parts, and remembers the parts."""

        loss_is_scaled_for_ga = False

        def training_step(self, *given: Any, **named: Any) -> Any:
            """As Trainer's."""
            loss = super().training_step(*given, **named)
            if job["order"]:
                self.micro_losses.append(float(loss))
            return loss

        def compute_loss(self, model: Any, inputs: Any, **named: Any) -> Any:
            """Without the number of items, which makes the model's mean a mean over the whole accumulated batch."""
            return super().compute_loss(model, inputs, **{**named, "num_items_in_batch": None})

    collator = DataCollatorWithPadding(
        tokenizer, padding="max_length" if job["fixed"] else "longest", max_length=MAX_LENGTH if job["fixed"] else None
    )
    trainer = Corrected(
        model=model_of(job), args=arguments, train_dataset=data, data_collator=collator, processing_class=tokenizer
    )
    trainer.micro_losses = []
    return trainer, data


def dataset_of(job: Job, tokenizer: Any) -> Any:
    """The texts tokenized, in the order of the file or in the job's."""
    from datasets import Dataset

    rows = read(Path(job["train"]))
    rows = [rows[index] for index in job["order"]] if job["order"] else rows
    encoded = tokenizer([row["text"] for row in rows], truncation=True, max_length=MAX_LENGTH)
    return Dataset.from_dict(
        {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "labels": [LABELS.index(row["label"]) for row in rows],
            "length": [len(ids) for ids in encoded["input_ids"]],
        }
    )


def model_of(job: Job) -> Any:
    """The same encoder, cut, frozen and adapted as the recipe says, by transformers and PEFT alone."""
    import torch
    from transformers import AutoModelForSequenceClassification

    section = job["model"]
    override = {} if job["dropout"] is None else dict.fromkeys(_DROPOUTS, job["dropout"])
    hf = AutoModelForSequenceClassification.from_pretrained(section["name"], dtype=torch.float32, **override)
    body = hf.base_model
    if section.get("layers"):
        body.encoder.layer = body.encoder.layer[: section["layers"]]
        hf.config.num_hidden_layers = section["layers"]
    freeze = section.get("freeze", {})
    frozen = [body.embeddings] if freeze.get("embeddings") else []
    frozen += list(body.encoder.layer[: freeze.get("layers", 0)])
    for part in frozen:
        part.requires_grad_(False)
        if job.get("no_frozen_dropout"):
            _silence(part)
    return hf if section.get("lora") is None else _adapted(hf, section["lora"], job["dropout"])


_DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


def _silence(part: Any) -> None:
    from torch import nn

    for module in part.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def _adapted(hf: Any, spec: dict[str, Any], dropout: float | None) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    from glotune.engine.step import seed_initialisation
    from glotune.model.families import Anatomy

    inside = [f"attention.{name}" for name in ("self.query", "self.key", "self.value", "output.dense")]
    inside += ["intermediate.dense", "output.dense"]
    targets = [
        f"{hf.base_model_prefix}.encoder.layer.{layer}.{name}"
        for layer in range(hf.config.num_hidden_layers)
        for name in inside
    ]
    seed_initialisation(0)  # the adapters begin as glotune's do
    return get_peft_model(
        hf,
        LoraConfig(
            task_type=TaskType.SEQ_CLS,
            r=spec["rank"],
            lora_alpha=spec["alpha"],
            lora_dropout=spec["dropout"] if dropout is None else dropout,
            target_modules=targets,
            modules_to_save=list(Anatomy(hf).family.head),  # BERT's pooler too: fresh, as the classifier is
        ),
    )


class Clock:
    """When training started, when its last step ended, and how long its updates took."""

    def __init__(self) -> None:
        self.started = self.last = self.updating = self._before = 0.0
        self.epoch_seconds: list[float] = []
        """Of each epoch, from its beginning to the end of its last step: evaluations and checkpoints lie between."""
        self._began = 0.0


def clock_of(trainer: Any) -> Clock:
    """Adds a clock to a Trainer."""
    import torch
    from transformers import TrainerCallback

    clock = Clock()

    class Timing(TrainerCallback):
        def on_train_begin(self, *given: Any, **named: Any) -> None:
            clock.started = time.perf_counter()

        def on_epoch_begin(self, *given: Any, **named: Any) -> None:
            clock._began = time.perf_counter()

        def on_pre_optimizer_step(self, *given: Any, **named: Any) -> None:
            clock._before = time.perf_counter()

        def on_optimizer_step(self, *given: Any, **named: Any) -> None:
            clock.updating += time.perf_counter() - clock._before

        def on_step_end(self, *given: Any, **named: Any) -> None:
            clock.last = time.perf_counter()

        def on_epoch_end(self, *given: Any, **named: Any) -> None:
            if torch.cuda.is_available():  # steps are only asked for until then
                torch.cuda.synchronize()
                clock.last = time.perf_counter()
            clock.epoch_seconds.append(clock.last - clock._began)

    trainer.add_callback(Timing())
    return clock
