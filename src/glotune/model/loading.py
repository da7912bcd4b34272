"""Load an encoder with a classification head for these labels: fp32 masters, label order fixed, no pickled code.

To train, what a head lacks is made afresh; to predict, a head must be whole: nothing is answered that wasn't learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from pickle import UnpicklingError
from threading import RLock
from typing import Any

import torch
from torch import nn

from glotune.errors import UserError
from glotune.model.families import Anatomy, refuse_unfit
from glotune.model.sources import arguments, locate, refuse
from glotune.recipe import schema

Log = Callable[[str], None]
SINGLE_LABEL, MULTI_LABEL, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
ANSWERS = {
    SINGLE_LABEL: "one class per text (problem_type single_label_classification)",
    MULTI_LABEL: "several labels per text (problem_type multi_label_classification)",
    REGRESSION: "numbers (problem_type regression)",
}
"""What a head answers, by its ``problem_type``."""
_ONE_AT_A_TIME = RLock()


def load_tokenizer(model: schema.Model) -> Any:
    """The encoder's fast tokenizer (``PreTrainedTokenizerFast``).

    Raises:
        UserError: neither a folder nor reachable; or the tokenizer is not a fast one.
    """
    from transformers import AutoTokenizer

    source = locate(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, **arguments(model))
    except Exception as error:
        raise refuse(model, "tokenizer", error) from error
    if not tokenizer.is_fast:
        raise UserError(
            f"the tokenizer of '{model.name}' is not a fast one (tokenizers library)",
            where="model.name",
            expected="a folder with tokenizer.json",
        )
    return tokenizer


def load_config(model: schema.Model) -> Any:
    """The encoder's ``PreTrainedConfig``, under the head that the recipe asks for.

    Raises:
        UserError: neither a folder nor reachable, damaged, of a family that can't be fine-tuned here, or of one whose
            head can't read what `model.pooling` says.
    """
    from transformers import AutoConfig

    from glotune.model.mean_pooling import under  # makes its classes known to transformers

    source = locate(model)
    try:
        config = AutoConfig.from_pretrained(source, **arguments(model))
    except Exception as error:
        raise refuse(model, "configuration", error) from error
    refuse_unfit(config.model_type)
    found = config if model.pooling is None else under(config, model.pooling)
    if found is None:
        raise UserError(
            f"model.pooling is '{model.pooling}', and the head of encoders of the kind '{config.model_type}' reads what"
            " the family reads",
            where="model.pooling",
            expected="an XLM-R, RoBERTa, CamemBERT, BERT or ModernBERT encoder with it",
            remedy="Leave model.pooling out",
        )
    return found


def load_encoder(
    model: schema.Model, labels: Sequence[str], *, seed: int, log: Log, problem_type: str = SINGLE_LABEL
) -> Any:
    """The model for sequence classification (``PreTrainedModel``), all parameters fp32, in train mode.

    A head in the checkpoint is kept where it has these labels (rows moved where their order differs) and made
    initialised from `seed` otherwise; `log` gets a line that says which.

    Args:
        labels: names in the order of the class ids.
        seed: of a fresh head, which depends on nothing else.
        log: takes one line for people.
        problem_type: what the head answers, as ``config.json`` says it.

    Raises:
        UserError: neither a folder nor reachable; damaged; without the encoder's weights; or of a family that can't be
            fine-tuned here.
    """
    source = locate(model)
    config = load_config(model)
    stated = StatedHead.of(config)
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: index for index, name in enumerate(labels)}
    config.problem_type = problem_type
    for key in ("thresholds", "windows"):  # how another run answered, and how it read its texts
        if getattr(config, key, None) is not None:
            delattr(config, key)
    if _use_full_attention(config):
        log("its block-sparse attention depends on the batch: full attention is used, and saved")
    if model.dropout is not None:
        _override_dropout(config, model.dropout)
    hf, info = _read_weights(model, source, config)
    if _is_pickled(source):
        log(f"{model.name} comes as a .bin file: read with weights_only, no pickled code runs")
    _fit_head(hf, model, stated, problem_type, list(labels), info, seed, log)
    return hf.train()


def load_classifier(model: schema.Model) -> tuple[Any, list[str]]:
    """A trained classifier (``PreTrainedModel``), fp32 and in evaluation mode, and its labels by class id.

    Nothing is initialised at random: an answer comes from weights that were trained, or there is none.

    Raises:
        UserError: no folder of a model, damaged, weights of encoder or head missing or of other shapes than
            ``config.json`` says, a head of another kind than one class per text, or labels that don't name its classes.
    """
    source = locate(model)
    config = load_config(model)
    _use_full_attention(config)
    refuse_unusable(config, model.name)
    hf, info = _read_weights(model, source, config)
    _refuse_partial_encoder(Anatomy(hf), model, info)
    refuse_partial(info, model.name)
    return hf.eval(), StatedHead.of(config).labels


def check_fit(hf: nn.Module, tokenizer: Any, max_length: int) -> None:
    """Checks that the encoder has a row for every token and a position for `max_length` tokens.

    Raises:
        UserError: otherwise.
    """
    anatomy = Anatomy(hf)
    rows = anatomy.word_embeddings.num_embeddings
    highest = max(tokenizer.get_vocab().values(), default=0)
    if highest >= rows:
        raise UserError(
            f"the tokenizer has ids up to {highest}, the encoder {rows} embedding rows",
            where="model.name",
            expected="a tokenizer and an encoder that were trained together",
        )
    longest = positions_of(anatomy)
    if longest is not None and getattr(anatomy.config, "position_biased_input", True) and max_length > longest:
        raise UserError(
            f"max_length {max_length} of an encoder with {longest} positions",
            where="data.max_length",
            expected=f"at most {longest}",
        )


def positions_of(anatomy: Anatomy) -> int | None:
    """How many tokens the position embeddings reach; None where the family has none."""
    positions = getattr(anatomy.config, "max_position_embeddings", None)
    if positions is None or positions < 0:  # XLNet says -1
        return None
    return int(positions) - (anatomy.config.pad_token_id + 1 if anatomy.family.positions_after_padding else 0)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own bars and load report: what matters of it is in glotune's log.

    One thread at a time, for this and for what transformers changes of the whole process while it reads weights: two
    that overlap leave the class of all models without its method that ties weights.
    """
    from transformers.utils import logging

    with _ONE_AT_A_TIME:
        verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def _use_full_attention(config: Any) -> bool:
    """BigBird goes by the longest text of a batch, and stays with full attention once it met short ones."""
    if getattr(config, "attention_type", None) != "block_sparse":
        return False
    config.attention_type = "original_full"
    return True


def _read_weights(model: schema.Model, source: str, config: Any) -> tuple[Any, dict[str, Any]]:
    """The model with what its files hold, and transformers' account of what they lack."""
    from transformers import AutoModelForSequenceClassification

    with refused(model), torch.random.fork_rng(devices=[]), quiet():
        hf, info = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            dtype=torch.float32,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **arguments(model),
        )
    return hf, info


@contextmanager
def refused(model: schema.Model) -> Iterator[None]:
    """Whatever the libraries raise where weights can't be read becomes the user's error."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, UnpicklingError, KeyError, TypeError, ImportError) as error:
        raise refuse(model, "model", error) from error
    except Exception as error:
        # safetensors and the Hub's client raise classes of their own.
        if type(error).__module__.partition(".")[0] not in (
            "safetensors",
            "safetensors_rust",
            "huggingface_hub",
            "httpx",
        ):
            raise
        raise refuse(model, "model", error) from error


def _refuse_partial_encoder(anatomy: Anatomy, model: schema.Model, info: dict[str, Any]) -> None:
    outside = sorted(name for name in lacking(info) if anatomy.depth_of(name) is not None)
    if outside:
        raise UserError(
            f"the checkpoint '{model.name}' lacks {len(outside)} weights of its encoder, the first {outside[0]}",
            where="model.name",
            expected="weights of the architecture that its config.json names",
        )


def _override_dropout(config: Any, rate: float) -> None:
    for key, value in config.to_dict().items():
        if "dropout" in key and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
            setattr(config, key, rate)


def _is_pickled(source: str) -> bool:
    folder = Path(source)
    if folder.is_dir():
        return not any(folder.glob("*.safetensors"))
    from huggingface_hub import try_to_load_from_cache

    names = ("model.safetensors", "model.safetensors.index.json")
    return not any(isinstance(try_to_load_from_cache(source, name), str) for name in names)


def _fit_head(
    hf: Any,
    model: schema.Model,
    stated: StatedHead,
    problem_type: str,
    labels: list[str],
    info: dict[str, Any],
    seed: int,
    log: Log,
) -> None:
    anatomy, known = Anatomy(hf), stated.labels
    _refuse_partial_encoder(anatomy, model, info)
    absent = lacking(info)
    last = anatomy.family.head[-1]
    has_head = not any(name.startswith(f"{last}.") for name in info["missing_keys"])
    # A saved head of scores gives them in their own units, and is trained in standard deviations: it begins anew.
    fits = not absent and stated.problem_type == problem_type and problem_type != REGRESSION
    if fits and known == labels:
        log("the checkpoint's classification head has these labels: kept")
    elif fits and sorted(known) == sorted(labels):
        _reorder(anatomy.head[last], [known.index(name) for name in labels])
        log(f"the checkpoint's head has these labels in another order ({', '.join(known)}): moved by name")
    else:
        if has_head:
            if stated.problem_type != problem_type or problem_type == REGRESSION:
                why = f"answers {stated.answers}"
            elif sorted(known) == sorted(labels):
                why = f"is not whole ({', '.join(sorted(absent))})"
            else:
                why = f"is for other labels ({', '.join(known[:8])})"
            log(f"the checkpoint's classification head {why}: initialised at random")
        absent = absent | {f"{last}.{name}" for name, _ in anatomy.head[last].named_parameters()}
    if absent:
        _make_afresh(hf, absent, seed)


def _reorder(head: nn.Module, rows: list[int]) -> None:
    """Moves the rows of the last linear map: row i of the result is row rows[i]."""
    final = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        final.weight.copy_(final.weight[rows].clone())
        if final.bias is not None:
            final.bias.copy_(final.bias[rows].clone())


def _make_afresh(hf: Any, names: set[str], seed: int) -> None:
    """Initialises the named parameters as the family does, from `seed`, and no other tensor."""
    for name, tensor in chain(hf.named_parameters(), hf.named_buffers()):
        tensor._is_hf_initialized = name not in names
    for module in hf.modules():
        module._is_hf_initialized = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf.initialize_weights()


@dataclass(frozen=True)
class StatedHead:
    """What a ``config.json`` says of its head, read as transformers reads it."""

    labels: list[str]
    """Names in the order of the class ids; LABEL_0, LABEL_1 ... where only their number is said."""
    problem_type: str | None
    """What it answers; None where that is not said and can't be known: one number for each text."""

    @staticmethod
    def of(config: Any) -> StatedHead:
        """Of a ``PreTrainedConfig``."""
        labels = [str(config.id2label[index]) for index in sorted(config.id2label)]
        return StatedHead(labels, config.problem_type or (None if config.num_labels == 1 else SINGLE_LABEL))

    @property
    def answers(self) -> str:
        """What it answers, in words."""
        return ANSWERS.get(self.problem_type or "", "one number per text (num_labels 1)")


def lacking(info: dict[str, Any]) -> set[str]:
    """Weights that the files lack or hold in another shape, from transformers' account of a loading."""
    return set(info["missing_keys"]) | {key for key, *_ in info["mismatched_keys"]}


def refuse_unusable(config: Any, name: str) -> None:
    """Checks what a ``config.json`` says of the head of a model to predict with.

    Raises:
        UserError: no classification head, one of another task, or labels that don't name each class apart.
    """
    stated, kinds = StatedHead.of(config), config.architectures or []
    if kinds and not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise _headless(name, f"it is a {kinds[0]}")
    if stated.problem_type not in ANSWERS or (stated.problem_type == SINGLE_LABEL and len(stated.labels) == 1):
        raise UserError(
            f"the head of {name} answers {stated.answers}",
            where="config.json",
            expected="a head that chooses one of two or more classes, or a problem_type that says what it answers",
            remedy="Open it with transformers.pipeline, or train a classifier with: glotune train",
        )
    classes = len(stated.labels)
    if sorted(config.id2label) != list(range(classes)) or len(set(stated.labels)) < classes:
        raise UserError(
            f"id2label of {name} is {config.id2label}",
            where="config.json",
            expected=f"a name of its own for each class from 0 to {classes - 1}",
        )


def refuse_partial(info: dict[str, Any], name: str) -> None:
    """Checks that a head's weights are all there and as large as its ``config.json`` says.

    Raises:
        UserError: otherwise; names the weights.
    """
    for weight, stored, wanted in sorted(info["mismatched_keys"]):
        raise UserError(
            f"{weight} of {name} has the shape {list(stored)}, its config.json asks for {list(wanted)}",
            where="config.json",
            expected="id2label (or num_labels) with one entry per output of the head",
        )
    if info["missing_keys"]:
        raise _headless(name, f"its weights lack {', '.join(sorted(info['missing_keys']))}")


def _headless(name: str, why: str) -> UserError:
    return UserError(
        f"{name} holds an encoder without a classification head: {why}",
        expected="a trained text classifier",
        remedy="Train one with: glotune train",
    )
