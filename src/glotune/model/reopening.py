"""A saved model, opened again by transformers and asked the same: what answers otherwise was not saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glotune.data.packed import PackedBatch
from glotune.errors import RunError
from glotune.model.loading import quiet
from glotune.model.network import Network
from glotune.model.packed.padding import takes_types
from glotune.model.surgery.vocabulary import VocabularyMap

TOLERANCE = 1e-3
"""Largest difference of a logit, in units of the largest logit (at least 1): far above what another order of sums
makes (1e-5), far below what a wrong tensor makes."""


def check_reopened(
    folder: Path, network: Network, vocabulary: VocabularyMap | None, texts: PackedBatch | None, *, trusted: bool
) -> None:
    """Opens the folder as any user would, and compares names, shapes and the logits of a few texts.

    transformers maps the file's float32 tensors and copies none of them: no second model is held. For XLM-R-base (1.1
    GB) and four texts of 32 tokens on a CPU, opening took 0.4 s of processor time and the forward passes here and there
    7 s; 10 MB of memory, and 0.6 GB of mapped pages that the system takes back at need. A large encoder takes as much
    more as its passes do.

    Args:
        folder: weights, configuration and tokenizer.
        network: as it was saved; its mode is left as it was.
        texts: as the network takes them, in the rows of its trimmed vocabulary; None compares no logits.
        trusted: the folder's own code may run.

    Raises:
        RunError: the folder can't be opened, lacks tensors or has others, or answers otherwise.
    """
    from transformers import AutoModelForSequenceClassification

    try:
        with torch.random.fork_rng(devices=[]), quiet():
            saved, info = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=trusted
            )
    except Exception as error:  # whatever it is that transformers or the family's code stumbles over
        reason = " ".join(str(error).split())[:300]
        if "ignore_mismatched_sizes" in reason:  # transformers names them in a report of its own
            reason = "a tensor has another shape than config.json says"
        raise _fault(network, f"transformers can't open it: {reason}") from error
    for kind in ("missing", "unexpected"):
        if names := sorted(info[f"{kind}_keys"]):
            raise _fault(network, f"{len(names)} tensors are {kind}, the first {names[0]}")
    if texts is not None:
        _compare(saved.eval(), network, vocabulary, texts)


@torch.no_grad()
def _compare(saved: Any, network: Network, vocabulary: VocabularyMap | None, texts: PackedBatch) -> None:
    was_training, device = network.training, next(network.parameters()).device
    network.eval()
    try:
        live_BC = network(texts.to(device)).float().cpu()
    finally:
        network.train(was_training)
    found_BC = torch.cat([saved(**inputs).logits for inputs in _alone(saved, vocabulary, texts)]).float()
    largest = float((found_BC - live_BC).abs().max())
    if not largest <= TOLERANCE * max(1.0, float(live_BC.abs().max())):
        raise _fault(network, f"its logits differ by {largest:.2g} from those of the trained network")


def _alone(saved: Any, vocabulary: VocabularyMap | None, texts: PackedBatch) -> list[dict[str, Tensor]]:
    """The inputs of each text by itself, in the tokenizer's ids."""
    rows = texts.input_ids.numpy()
    ids = torch.from_numpy(rows if vocabulary is None else vocabulary.to_full(rows))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if takes_types(saved):
        inputs["token_type_ids"] = texts.token_type_ids
    parts = {name: values_T.split(texts.lengths) for name, values_T in inputs.items()}
    return [{name: part[text].unsqueeze(0) for name, part in parts.items()} for text in range(len(texts))]


def _fault(network: Network, what: str) -> RunError:
    return RunError(
        f"the model of this run ({network.anatomy.family.name}) could not be saved as it was trained: {what}. What was"
        " trained is safe in the run's checkpoints. This is a fault of glotune with this encoder: please report it with"
        " the encoder's config.json"
    )
