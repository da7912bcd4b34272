"""The network that pretrains: a Hugging Face masked language model behind the packed signature."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glotune.data.batches import PackedBatch
from glotune.data.plain_text import PlainTexts
from glotune.errors import UserError
from glotune.model.loading import check_fit, load_tokenizer, quiet, refused
from glotune.model.network import Network
from glotune.model.packed.walk import Flow
from glotune.model.scratch import new_encoder, train_tokenizer
from glotune.model.sources import arguments, locate
from glotune.model.surgery.new_pieces import extend_tokenizer, grow
from glotune.model.surgery.truncation import truncate
from glotune.recipe import schema
from glotune.recipe.pretrain import PretrainRecipe
from glotune.run.records import Change
from glotune.whole_files import whole_folder
from glotune.words import millions

Log = Callable[[str], None]
TOKENIZER = "tokenizer"
"""The folder of a run that keeps its tokenizer, so that a resumed run has the very same."""


class MaskedLanguageModel(Network):
    """Token states of packed texts, and the output layer over the vocabulary.

    Raises:
        UserError: a family that does not run packed.
    """

    def __init__(self, hf: nn.Module) -> None:
        super().__init__(hf, packed=True, pooled_last_layer=False)
        if self.walk is None:
            raise UserError(
                f"pretraining knows no encoders of the kind '{self.anatomy.config.model_type}'",
                where="model.name",
                expected="XLM-R, RoBERTa, BERT, ModernBERT or mmBERT",
            )

    def forward(self, batch: PackedBatch) -> Tensor:
        """Hidden_TH of all tokens after the last layer (and its norm, where the family has one)."""
        assert self.walk is not None
        flow = Flow.of(batch, self.kernels)
        hidden = self.walk.embed(batch)
        for index in range(self.num_layers):
            hidden = self.layer(index, hidden, flow)
        if self.anatomy.family.body == "modernbert":
            hidden = self.anatomy.core.model.final_norm(hidden)
        return hidden.squeeze(0)

    def token_logits(self, hidden_NH: Tensor) -> Tensor:
        """Logits_NV of N tokens, by the encoder's own output layer."""
        core: Any = self.anatomy.core
        if hasattr(core, "lm_head"):  # XLM-R, RoBERTa
            return core.lm_head(hidden_NH)
        if hasattr(core, "cls"):  # BERT
            return core.cls(hidden_NH)
        return core.decoder(core.head(hidden_NH))  # ModernBERT


def _tidy(folder: Path) -> None:
    """The tokenizer's file without indentation (a third of the size), its class by its portable name."""
    backend, settings = folder / "tokenizer.json", folder / "tokenizer_config.json"
    content = json.loads(backend.read_text(encoding="utf-8"))
    backend.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    kept = json.loads(settings.read_text(encoding="utf-8"))
    for machine in ("is_local", "local_files_only", "name_or_path", "_name_or_path"):
        kept.pop(machine, None)
    if kept.pop("backend", None) == "tokenizers" and kept["tokenizer_class"] == "TokenizersBackend":
        kept["tokenizer_class"] = "PreTrainedTokenizerFast"
    settings.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def set_dropout(hf: nn.Module, probability: float) -> None:
    """Sets every dropout of the modules; the configuration, which is saved, keeps the encoder's own."""
    module: Any
    for module in hf.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = probability


def load_masked_lm(model: schema.Model, log: Log) -> Any:
    """An encoder with its output layer over the vocabulary, all parameters fp32.

    `log` gets a line where the checkpoint has no such layer and it starts from scratch.

    Raises:
        UserError: neither a folder nor reachable, damaged, or of a family without masked language modelling.
    """
    from transformers import AutoModelForMaskedLM

    source = locate(model)
    with refused(model), quiet():
        hf, info = AutoModelForMaskedLM.from_pretrained(
            source, dtype=torch.float32, weights_only=True, output_loading_info=True, **arguments(model)
        )
    fresh = sorted(info["missing_keys"])
    if fresh:
        log(f"{model.name} has no weights for {', '.join(fresh[:5])}: they start from scratch")
    return hf.train()


@torch.no_grad()
def interpolate(trained: Any, recipe: PretrainRecipe, tokenizer: Any) -> None:
    """Mixes the existing encoder's own weights into what was trained, by the recipe's share of them.

    Left as trained are rows of new pieces, which were nothing but the mean of others before, and the output layer,
    which not every encoder brings along.
    """
    built, _ = build_encoder(recipe, tokenizer, lambda message: None)
    before, old = dict(built.base_model.named_parameters()), len(load_tokenizer(recipe.model.source))
    for name, weight in trained.base_model.named_parameters():
        grown = recipe.model.new_pieces and weight is trained.get_input_embeddings().weight
        rows = slice(old) if grown else slice(None)
        weight[rows].lerp_(before[name][rows].to(weight), recipe.model.interpolate)


def save_encoder(hf: Any, tokenizer: Any, folder: Path, dtype: torch.dtype) -> None:
    """Saves encoder, output layer and tokenizer as any Hugging Face folder, all at once or not at all."""
    with whole_folder(folder) as aside, quiet():
        cast = copy.deepcopy(hf).to("cpu", dtype)  # as a whole: tensors that are tied stay one, and are saved once
        cast.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        _tidy(aside)


def prepare_tokenizer(recipe: PretrainRecipe, texts: PlainTexts, run: Path) -> Any:
    """The run's tokenizer: kept from an earlier attempt, learned from the texts, extended, or the encoder's own.

    Raises:
        UserError: the texts don't support the wanted pieces, or the encoder's tokenizer can't hide tokens.
    """
    from transformers import AutoTokenizer

    kept = run / TOKENIZER
    if (kept / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(kept)
    if recipe.model.scratch is not None:
        tokenizer = train_tokenizer(texts.by_language(), recipe.model.scratch, recipe.seed)
    else:
        tokenizer = load_tokenizer(recipe.model.source)
        if recipe.model.new_pieces:
            lines = [line for own in texts.by_language().values() for line in own]
            tokenizer = extend_tokenizer(tokenizer, lines, recipe.model.new_pieces)
    if tokenizer.mask_token_id is None:
        raise UserError(
            f"the tokenizer of '{recipe.model.name}' has no mask token",
            where="model.name",
            expected="an encoder made by masked language modelling",
        )
    with quiet():
        tokenizer.save_pretrained(kept)
    return tokenizer


def build_encoder(recipe: PretrainRecipe, tokenizer: Any, log: Log) -> tuple[Any, list[Change]]:
    """The masked language model for this tokenizer, and what was done to it."""
    changes: list[Change] = []
    if recipe.model.scratch is not None:
        hf = new_encoder(recipe.model.scratch, len(tokenizer))
        count = sum(value.numel() for value in hf.parameters())
        changes.append(
            Change(
                kind="new_encoder",
                description=f"a new encoder of {millions(count)} parameters, {len(tokenizer)} pieces",
                parameters_before=0,
                parameters_after=count,
                trainable_before=0,
                trainable_after=count,
            )
        )
    else:
        source = recipe.model.source
        hf = load_masked_lm(source, log)
        cut = truncate(hf, source.layers)
        if cut is not None:
            changes.append(cut)
        if recipe.model.new_pieces:
            changes.append(grow(hf, load_tokenizer(source), tokenizer))
    check_fit(hf, tokenizer, recipe.data.max_length)
    if recipe.model.dropout is not None:
        set_dropout(hf, recipe.model.dropout)
    return hf, changes
