"""Save what was trained as an ordinary Hugging Face folder: adapters merged, full vocabulary, normalisation inside.

The folder is opened again by transformers and asked the same: what answers otherwise was not saved.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.dynamic_module_utils import custom_object_save

from glotune.data.batches import PackedBatch, pooled
from glotune.data.unicode_form import Normalization, put_first
from glotune.errors import RunError
from glotune.model.families import Anatomy
from glotune.model.loading import quiet
from glotune.model.network import Network
from glotune.model.packed.padding import takes_types
from glotune.model.surgery.vocabulary import VocabularyMap
from glotune.model.tensorfile import Entry, write_tensors
from glotune.recipe.schema import Windows
from glotune.run.records import Decision
from glotune.whole_files import whole_folder

SETTINGS = "tokenizer_config.json"
BASE_CONFIG = "base_config.json"
WINDOW = "sentence_bert_config.json"
"""Where text-embeddings-inference and vLLM look for how many tokens a model reads; without it they take as many as it
has positions."""


@dataclass(frozen=True)
class Saved:
    """What was written, and what a reader of the folder must know."""

    folder: Path
    size: int
    """Bytes of the weights."""
    notes: list[str]


def save_model(
    network: Network,
    tokenizer: Any,
    vocabulary: VocabularyMap | None,
    folder: Path,
    *,
    max_length: int,
    normalization: Normalization = "none",
    truncation: Literal["head", "head_tail"] = "head",
    windows: Windows | None = None,
    check_with: PackedBatch | None = None,
    trusted: bool = False,
    decision: Decision | None = None,
) -> Saved:
    """Writes weights, configuration and tokenizer; ``transformers.pipeline("text-classification")`` opens it.

    Where the head reads the mean by a class of glotune's, it does so with ``trust_remote_code=True`` alone: the file of
    the class lies in the folder.

    The network is left as it was, bit for bit: training may go on. The folder appears whole or not at all, and only
    after transformers has opened it and answered as the network does (`check_reopened`, which says what that costs).

    Args:
        vocabulary: of a trimmed network; the full matrix is written.
        max_length: becomes the tokenizer's ``model_max_length``.
        windows: how longer texts were read, kept in ``config.json`` as ``windows``.
        normalization: put in front of the tokenizer's own normalizer where it isn't there already.
        check_with: a few texts as the network takes them, whose logits the saved model must give; None compares none.
        trusted: the encoder's own code may run, and is saved with it.
        decision: the thresholds of labels or classes, kept in ``config.json`` as ``thresholds``; of scores, the means
            and standard deviations, which the last linear map takes in, so that the saved model gives scores
            themselves.

    Raises:
        RunError: what was written can't be opened, or answers otherwise.
    """
    anatomy = network.anatomy
    notes: list[str] = []
    with whole_folder(folder) as partial, in_own_units(anatomy, decision):
        size = write_tensors(partial / "model.safetensors", _entries(anatomy, vocabulary))
        config = _config(anatomy, vocabulary)
        if decision is not None and decision.thresholds:
            config.thresholds = dict(zip(config.id2label.values(), decision.thresholds, strict=True))
        if windows is not None:
            config.windows = windows.model_dump()
        if (trusted or anatomy.needs_code) and getattr(anatomy.core, "_auto_class", None) is not None:
            custom_object_save(anatomy.core, partial, config=config)
        config.save_pretrained(partial)
        saved_tokenizer = copy.deepcopy(tokenizer)
        saved_tokenizer.model_max_length = max_length
        put_first(saved_tokenizer.backend_tokenizer, normalization)
        save_tokenizer(saved_tokenizer, partial)
        write_window(partial, max_length)
        check_reopened(partial, network, vocabulary, check_with, trusted=trusted)
    if truncation == "head_tail":
        notes.append(
            f"texts over {max_length} tokens were cut in the middle in training; transformers cuts the end: give such "
            "texts to glotune predict"
        )
    if windows is not None and windows.pool != "first":
        notes.append(
            f"texts over {max_length} tokens are read in up to {windows.most} windows; transformers reads the first "
            "one: give such texts to glotune predict"
        )
    return Saved(folder, size, notes)


def save_adapter(
    network: Network, folder: Path, vocabulary: VocabularyMap | None = None, decision: Decision | None = None
) -> None:
    """Writes the adapter and the head in PEFT's layout (safetensors).

    Its base is the encoder with the layers that the run kept, and labels: ``base_config.json`` is the configuration to
    load it with. (As ``config.json`` it would make transformers look for the base's weights in this folder.)

    Raises:
        ValueError: the network has no adapter.
    """
    if not hasattr(network.hf, "peft_config"):
        raise ValueError("this network has no adapter")
    with whole_folder(folder) as partial, in_own_units(network.anatomy, decision):
        network.hf.save_pretrained(partial, safe_serialization=True, save_embedding_layers=False)
        _config(network.anatomy, vocabulary).to_json_file(partial / BASE_CONFIG)


@contextmanager
@torch.no_grad()
def in_own_units(anatomy: Anatomy, decision: Decision | None) -> Iterator[None]:
    """The head answers scores themselves, not standard deviations from their means; afterwards it is as it was."""
    if decision is None or not decision.means:
        yield
        return
    final = last_linear(anatomy)
    assert final.bias is not None  # of every family's head of scores
    kept = final.weight.detach().clone(), final.bias.detach().clone()
    scale_L, mean_L = _units(decision)
    try:
        _rescale(final, scale_L, mean_L)
        yield
    finally:
        final.weight.copy_(kept[0])
        final.bias.copy_(kept[1])


@torch.no_grad()
def from_own_units(anatomy: Anatomy, decision: Decision) -> None:
    """The way back, for good: a head that answers scores themselves answers standard deviations from their means."""
    scale_L, mean_L = _units(decision)
    _rescale(last_linear(anatomy), 1.0 / scale_L, -mean_L / scale_L)


def _units(decision: Decision) -> tuple[Tensor, Tensor]:
    """[L] standard deviations and means, on the host: not every device has float64."""
    return torch.tensor(decision.deviations, dtype=torch.float64), torch.tensor(decision.means, dtype=torch.float64)


def _rescale(final: nn.Linear, scale_L: Tensor, shift_L: Tensor) -> None:
    """Its outputs times the scale, plus the shift."""
    weight, bias = (tensor.detach().cpu().double() for tensor in (final.weight, final.bias))
    final.weight.copy_((weight * scale_L[:, None]).to(final.weight.dtype))
    final.bias.copy_((bias * scale_L + shift_L).to(final.bias.dtype))


def last_linear(anatomy: Anatomy) -> nn.Linear:
    """The map that gives the logits; of a run with adapters the trained copy."""
    head = anatomy.head[anatomy.family.head[-1]]
    trained = [module for name, module in head.named_modules() if "original_module" not in name]
    return [module for module in trained if isinstance(module, nn.Linear)][-1]


def _config(anatomy: Anatomy, vocabulary: VocabularyMap | None) -> Any:
    """The configuration of the model with its full vocabulary, in fp32."""
    config = copy.deepcopy(anatomy.config)
    config.architectures = [type(anatomy.core).__name__]
    config.dtype = torch.float32
    if vocabulary is not None:
        vocabulary.restore_config(config)
    return config


def plain_tensors(anatomy: Anatomy) -> dict[str, Entry]:
    """Name -> tensor of the model as if it had never been wrapped; adapters are merged one at a time, when read.

    A tensor of several names is there once, by the name that transformers ties the others to.
    """
    layers = {name: part for name, part in anatomy.core.named_modules() if hasattr(part, "merged_adapters")}
    tied = getattr(anatomy.core, "all_tied_weights_keys", {})
    state = anatomy.core.state_dict(keep_vars=True)
    entries: dict[str, Entry] = {}
    seen: set[int] = set()
    for key in sorted(state, key=lambda key: key in tied):
        name, value = _plain_name(key), state[key]
        if name is None or id(value) in seen:
            continue
        seen.add(id(value))
        owner = layers.get(key.rpartition(".base_layer.")[0])
        merges = owner is not None and name.endswith(".weight")
        entries[name] = Entry(tuple(value.shape), _reader(owner if merges else None, value))
    return entries


def _entries(anatomy: Anatomy, vocabulary: VocabularyMap | None) -> dict[str, Entry]:
    entries = plain_tensors(anatomy)
    if vocabulary is not None:
        weight = anatomy.word_embeddings.weight
        shape = (vocabulary.full_size, weight.shape[1])
        entries[f"{anatomy.family.word_embeddings}.weight"] = Entry(shape, lambda: vocabulary.full_chunks(weight))
    return entries


def _plain_name(key: str) -> str | None:
    """PEFT's name of a tensor -> the plain model's; None for what the plain model doesn't have."""
    if ".lora_" in key or ".original_module." in key:
        return None
    before, wrapped, after = key.partition(".modules_to_save.")
    if wrapped:
        key = f"{before}.{after.partition('.')[2]}"
    return key.replace(".base_layer.", ".")


def _reader(layer: Any | None, value: Tensor) -> Any:
    def read() -> Iterator[NDArray[np.float32]]:
        tensor = value if layer is None else _merged(layer)
        yield tensor.detach().float().cpu().numpy()

    return read


@torch.no_grad()
def _merged(layer: Any) -> Tensor:
    """The weight with its adapter added, PEFT's own way; the layer is left bit-equal to what it was."""
    weight: nn.Parameter = layer.get_base_layer().weight
    original = weight.detach().clone()
    layer.merge(safe_merge=False)
    merged = weight.detach().clone()
    layer.unmerge()
    weight.copy_(original)
    return merged


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes a tokenizer whose ``tokenizer.json`` says all that it does.

    Under a family's own class (``XLMRobertaTokenizer``) transformers takes pieces and template from the file and builds
    the rest anew: the Unicode form would be lost. Its general class reads the whole file.
    """
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    if "auto_map" in settings:  # code of its own, which knows how to read its file
        return
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name that transformers 4 and 5 know
    for attribute in ("model_input_names", "padding_side", "truncation_side"):  # the family's, else by its class
        settings[attribute] = getattr(tokenizer, attribute)
    (folder / SETTINGS).write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_window(folder: Path, max_length: int) -> None:
    """Tells servers how many tokens of a text the model was trained to read."""
    settings = {"max_seq_length": max_length, "do_lower_case": False}
    (folder / WINDOW).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


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
    found_SC = torch.cat([saved(**inputs).logits for inputs in _alone(saved, vocabulary, texts)]).float()
    found_BC = pooled(found_SC, texts.windows_BM, texts.pool)
    largest = float((found_BC - live_BC).abs().max())
    if not largest <= TOLERANCE * max(1.0, float(live_BC.abs().max())):
        raise _fault(network, f"its logits differ by {largest:.2g} from those of the trained network")


def _alone(saved: Any, vocabulary: VocabularyMap | None, texts: PackedBatch) -> list[dict[str, Tensor]]:
    """The inputs of each sequence by itself, in the tokenizer's ids."""
    rows = texts.input_ids.numpy()
    ids = torch.from_numpy(rows if vocabulary is None else vocabulary.to_full(rows))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if takes_types(saved):
        inputs["token_type_ids"] = texts.token_type_ids
    parts = {name: values_T.split(texts.lengths) for name, values_T in inputs.items()}
    return [{name: part[number].unsqueeze(0) for name, part in parts.items()} for number in range(len(texts.lengths))]


def _fault(network: Network, what: str) -> RunError:
    return RunError(
        f"the model of this run ({network.anatomy.family.name}) could not be saved as it was trained: {what}. What was"
        " trained is safe in the run's checkpoints. This is a fault of glotune with this encoder: please report it with"
        " the encoder's config.json"
    )
