"""Small random sequence classifiers of transformers' encoder families, each by its own names for the sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForSequenceClassification

from encoders import TEXTS, make_tokenizer, shake

LAYERS, VOCABULARY, LABELS = 3, 400, ("negative", "neutral", "positive")

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    **dict.fromkeys(("hidden_size", "d_model", "emb_dim", "dim", "n_embd"), 32),
    **dict.fromkeys(("embedding_size", "input_embedding_size", "output_embedding_size"), 16),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer"), LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), LAYERS),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "num_heads", "n_heads", "n_head"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "d_inner", "hidden_dim"), 64),
    **dict.fromkeys(("d_kv", "d_head", "head_dim"), 8),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 140),
    "type_vocab_size": 2,
}
"""Every name that a family may have for it -> the size here."""

_SPECIAL: dict[str, dict[str, Any]] = {
    "big_bird": {"block_size": 4, "num_random_blocks": 1},
    "convbert": {"conv_kernel_size": 3, "head_ratio": 1},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
    "deberta-v2": {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"]},
    "esm": {"mask_token_id": 4, "position_embedding_type": "rotary"},
    "funnel": {"block_sizes": [1, 1, 1]},
    "layoutlm": {"max_2d_position_embeddings": 64},
    "lilt": {"hidden_size": 48, "max_2d_position_embeddings": 64},
    "longformer": {"attention_window": [8, 8, 4]},
    "luke": {"entity_vocab_size": 5, "entity_emb_size": 16},
    "mbart": {"scale_embedding": True},
    "mobilebert": {"intra_bottleneck_size": 16, "true_hidden_size": 16},
    "modernbert": {"local_attention": 8},
    "mpnet": {"pad_token_id": 1},
    "mt5": {"decoder_start_token_id": 0},
    "nystromformer": {"num_landmarks": 8, "segment_means_seq_len": 8},
    "roc_bert": {"enable_pronunciation": False, "enable_shape": False},
    "squeezebert": {"embedding_size": 32},
    "t5": {"decoder_start_token_id": 0},
    "umt5": {"decoder_start_token_id": 0},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
}

SINGLE = (
    *("albert", "bert", "big_bird", "camembert", "convbert", "data2vec-text", "deberta", "deberta-v2", "distilbert"),
    *("electra", "ernie", "esm", "esmc", "eurobert", "fnet", "gte", "jina_embeddings_v3", "layoutlm", "lilt"),
    *("longformer", "luke", "megatron-bert", "mobilebert", "modernbert", "mpnet", "nomic_bert", "nystromformer"),
    *("rembert", "roberta", "roberta-prelayernorm", "roformer", "squeezebert", "ultrabert", "xlm-roberta"),
    *("xlm-roberta-xl", "xlnet", "xmod", "yoso"),
)
"""Encoders with one list of layers."""
SEVERAL = ("bart", "funnel", "mbart", "mt5", "mvp", "plbart", "t5", "umt5")
"""Encoder-decoders, and Funnel's blocks."""


_TEMPLATES = {
    "funnel": ("[CLS]:2 $A:0 [SEP]:0", "[CLS]:2 $A:0 [SEP]:0 $B:1 [SEP]:1"),
    "xlnet": ("$A:0 [SEP]:0 [CLS]:2", "$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2"),
}
"""Where a special token has a type of its own: a text, and a pair of texts."""


def make_family(folder: Path, kind: str, *, texts: Sequence[str] = TEXTS, **config: Any) -> Path:
    """Writes a random classifier of the family with a WordPiece tokenizer to `folder`, and returns the folder."""
    tokenizer = make_tokenizer("bert", texts, VOCABULARY, max_position=128)
    if kind in _TEMPLATES:
        single, pair = _TEMPLATES[kind]
        special_tokens = [("[CLS]", tokenizer.cls_token_id), ("[SEP]", tokenizer.sep_token_id)]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=single, pair=pair, special_tokens=special_tokens
        )
    default = AutoConfig.for_model(kind)
    sizes = {name: size for name, size in _SIZES.items() if name in default.to_dict()}
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {name: index for index, name in enumerate(LABELS)}}
    settings = AutoConfig.for_model(kind, **{**sizes, **special, **labels, **_SPECIAL.get(kind, {}), **config})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(settings)
        shake(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
