"""The same training as Hugging Face's Trainer: from the same weights, texts and order, the same losses and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from encoders import TEXTS, make_encoder
from glotune.data.batches import epoch_order
from glotune.data.reading import read_texts
from glotune.recipe import Recipe
from glotune.run.data import load_run
from glotune.verbs.train import train
from small_runs import LABELS, WORDS, sentences, small_recipe

SETTINGS = {
    "rows": 90,
    "model__dropout": 0.0,
    "optimizer__learning_rate": 5e-4,
    "optimizer__weight_decay": 0.05,
    "schedule__name": "linear",
    "schedule__warmup_ratio": 0.0,
    "train__epochs": 1,
    "train__batch_size": 16,  # the last of six batches has ten texts
}
DROPOUTS = {
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    "embedding_dropout", "mlp_dropout", "attention_dropout",
}  # fmt: skip
"""Of XLM-R's and BERT's configurations, and of ModernBERT's."""
BY_NOISE = ("key.bias", "k_proj.bias")
"""The softmax does not see a key's bias: its gradient is rounding noise, which Adam scales up to a whole step."""


class Losses(TrainerCallback):  # type: ignore[misc]
    """Of each step, unrounded."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        """One step's log."""
        if "loss" in logs:
            self.values.append(float(logs["loss"]))


@pytest.mark.parametrize("family", ["xlm-roberta", "bert", "modernbert"])
def test_trainer_gives_the_same_losses_and_weights(family: str, tmp_path: Path) -> None:
    encoder = tmp_path / f"{family}-2"
    texts = [row["text"] for language in WORDS for row in sentences(language, 40)]
    make_encoder(encoder, family, texts=[*TEXTS, *texts], labels=LABELS)
    recipe = small_recipe(tmp_path, family, **SETTINGS)
    train(recipe, out=tmp_path / "run", report=False, command=[])
    history = load_run(tmp_path / "run").history
    losses, theirs, used = by_trainer(recipe, encoder, tmp_path / "trainer")
    assert [each.loss for each in history.steps] == pytest.approx(losses, abs=2e-5)

    ours = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model").state_dict()
    before = AutoModelForSequenceClassification.from_pretrained(encoder).state_dict()
    assert set(ours) == set(theirs)
    moved = 0
    for name, expected in theirs.items():
        if name.endswith(BY_NOISE):
            continue
        found = ours[name]
        if found.shape[0] == before[name].shape[0] > 300 and found.ndim == 2:  # the word embeddings
            assert torch.equal(found[~used], before[name][~used])  # Trainer lets them decay, untouched (C4)
            found, expected = found[used], expected[used]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")
        moved += int(not torch.allclose(expected, before[name][: len(expected)], atol=1e-4))
    assert moved > 10


def by_trainer(recipe: Recipe, encoder: Path, folder: Path) -> tuple[list[float], dict[str, Any], Any]:
    """Losses of the steps, weights after them, and [V] which pieces the texts use."""
    texts = read_texts(recipe.data, recipe.seed).splits["train"]
    order = epoch_order(texts.language_ids, recipe.seed, 0, recipe.data.sampling_alpha)
    rows = texts.table.to_pylist()
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    encoded = tokenizer([rows[index]["text"] for index in order], truncation=True, max_length=recipe.data.max_length)
    data = Dataset.from_dict({**encoded, "labels": [rows[index]["label"] for index in order]})
    config = AutoConfig.from_pretrained(encoder)
    for name in DROPOUTS & set(vars(config)):
        setattr(config, name, 0.0)
    model = AutoModelForSequenceClassification.from_pretrained(encoder, config=config, dtype=torch.float32)
    losses = Losses()
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=recipe.train.batch_size,
            num_train_epochs=1,
            learning_rate=recipe.optimizer.learning_rate,
            weight_decay=recipe.optimizer.weight_decay,
            max_grad_norm=recipe.optimizer.max_grad_norm,
            adam_beta1=recipe.optimizer.betas[0],
            adam_beta2=recipe.optimizer.betas[1],
            adam_epsilon=recipe.optimizer.epsilon,
            lr_scheduler_type="linear",
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=data,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[losses],
    )
    trainer.train()
    used = torch.zeros(model.config.vocab_size, dtype=torch.bool)
    used[torch.tensor([piece for ids in encoded["input_ids"] for piece in ids])] = True
    return losses.values, trainer.model.state_dict(), used
