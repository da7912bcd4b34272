"""Classifiers whose head reads the mean over all tokens of a text: XLM-R, RoBERTa, CamemBERT and BERT.

transformers has no such classes: its heads of these families read the first token. So their folders say a
``model_type`` of their own. A plain ``from_pretrained`` refuses them instead of answering from the wrong vector, and
opens them under ``trust_remote_code=True`` through a copy of this file, which needs nothing but torch and transformers.
glotune itself never runs the copy.
"""

from typing import Any, Literal

from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    CamembertConfig,
    CamembertForSequenceClassification,
    PreTrainedConfig,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)
from transformers.modeling_outputs import SequenceClassifierOutput


def mean_over_texts(states_BLH: Tensor, mask_BL: Tensor | None) -> Tensor:
    """[B, H]: the mean of the tokens that the mask names (special tokens too, as e5 was trained).

    Summed in fp32, and returned in the precision of the states, which is that of the head's weights.
    """
    if mask_BL is None:
        return states_BLH.float().mean(dim=1).to(states_BLH.dtype)
    weights_BL1 = mask_BL.unsqueeze(-1).float()
    return ((states_BLH.float() * weights_BL1).sum(dim=1) / weights_BL1.sum(dim=1)).to(states_BLH.dtype)


class MeanPooled:
    """The forward pass that the four families share: encoder, mean, the family's own head."""

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **options: Any,
    ) -> SequenceClassifierOutput:
        """As transformers' classifiers, whatever `options` say: always an output with names."""
        model: Any = self
        outputs = getattr(model, model.base_model_prefix)(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **{**options, "return_dict": True},
        )
        logits = model.classify_mean(mean_over_texts(outputs.last_hidden_state, attention_mask))
        loss = None if labels is None else model.loss_function(labels, logits, model.config)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class _ThroughClassifier(MeanPooled):
    def classify_mean(self, mean_BH: Tensor) -> Tensor:
        """The head's first map, tanh and second map, on the mean in place of the first token."""
        model: Any = self
        return model.classifier(mean_BH.unsqueeze(1))


class MeanPooledXLMRobertaConfig(XLMRobertaConfig):
    """XLM-R."""

    model_type = "xlm-roberta-mean-pooled"


class MeanPooledXLMRobertaForSequenceClassification(_ThroughClassifier, XLMRobertaForSequenceClassification):
    """XLM-R."""

    config_class = MeanPooledXLMRobertaConfig


class MeanPooledRobertaConfig(RobertaConfig):
    """RoBERTa."""

    model_type = "roberta-mean-pooled"


class MeanPooledRobertaForSequenceClassification(_ThroughClassifier, RobertaForSequenceClassification):
    """RoBERTa."""

    config_class = MeanPooledRobertaConfig


class MeanPooledCamembertConfig(CamembertConfig):
    """CamemBERT."""

    model_type = "camembert-mean-pooled"


class MeanPooledCamembertForSequenceClassification(_ThroughClassifier, CamembertForSequenceClassification):
    """CamemBERT."""

    config_class = MeanPooledCamembertConfig


class MeanPooledBertConfig(BertConfig):
    """BERT."""

    model_type = "bert-mean-pooled"


class MeanPooledBertForSequenceClassification(MeanPooled, BertForSequenceClassification):
    """BERT."""

    config_class = MeanPooledBertConfig

    def classify_mean(self, mean_BH: Tensor) -> Tensor:
        """The pooler's map and tanh, dropout and the last map, on the mean in place of the first token."""
        return self.classifier(self.dropout(self.bert.pooler(mean_BH.unsqueeze(1))))


CLASSES: dict[type[PreTrainedConfig], Any] = {
    MeanPooledXLMRobertaConfig: MeanPooledXLMRobertaForSequenceClassification,
    MeanPooledRobertaConfig: MeanPooledRobertaForSequenceClassification,
    MeanPooledCamembertConfig: MeanPooledCamembertForSequenceClassification,
    MeanPooledBertConfig: MeanPooledBertForSequenceClassification,
}
for _config, _model in CLASSES.items():
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModelForSequenceClassification.register(_config, _model, exist_ok=True)
    _config.register_for_auto_class()
    _model.register_for_auto_class("AutoModelForSequenceClassification")

_BY_MODEL_TYPE: dict[str, Any] = {config.__base__.model_type: config for config in CLASSES}  # type: ignore[union-attr]


def under(config: Any, pooling: Literal["first", "mean"]) -> Any | None:
    """The configuration of the same encoder under a head that reads the first token, or the mean; None: no such class.

    ModernBERT's own configuration says how its head pools (``classifier_pooling``).
    """
    if hasattr(config, "classifier_pooling"):
        config.classifier_pooling = "mean" if pooling == "mean" else "cls"
        return config
    is_mean = type(config) in CLASSES
    if is_mean == (pooling == "mean"):
        return config if is_mean or config.model_type in _BY_MODEL_TYPE else None
    kind = type(config).__base__ if is_mean else _BY_MODEL_TYPE.get(config.model_type)
    return None if kind is None else _as(config, kind)


def _as(config: Any, kind: Any) -> Any:
    values = {key: value for key, value in config.to_dict().items() if key not in ("model_type", "auto_map")}
    changed = kind.from_dict(values)
    changed._name_or_path = config._name_or_path
    return changed
