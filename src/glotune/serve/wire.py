"""What goes over the wire: requests, answers and errors of text-embeddings-inference's ``/predict`` and ``/info``.

https://huggingface.github.io/text-embeddings-inference/ (OpenAPI 1.7). Where it answers bad JSON in plain text, we
answer in the form of its other errors.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr

from glotune.data.encoding import Text

ErrorType = Literal["Unhealthy", "Backend", "Overloaded", "Validation", "Tokenizer"]


class Refused(Exception):
    """A request that gets no prediction.

    Args:
        status: HTTP's.
        error_type: text-embeddings-inference's.
    """

    def __init__(self, status: int, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.status, self.error_type, self.message = status, error_type, message


class ErrorResponse(BaseModel):
    """Whatever went wrong."""

    error: str
    error_type: ErrorType


class PredictRequest(BaseModel):
    """A text, a pair of texts, or a batch of either."""

    model_config = ConfigDict(json_schema_extra={"example": {"inputs": "What a lovely day"}})

    inputs: StrictStr | list[StrictStr] | list[list[StrictStr]] = Field(
        description="A string; a pair of strings [first, second]; or a batch [[text], [first, second], …]."
    )
    truncate: StrictBool | None = Field(
        None, description="Cut what is too long, instead of refusing it. Default: as the server was started."
    )
    raw_scores: StrictBool = Field(False, description="Logits instead of probabilities.")
    truncation_direction: Literal["right", "Right"] = Field(
        "right", description="Texts are cut as in training: at their end, or in their middle."
    )

    @property
    def is_batch(self) -> bool:
        """Whether the answer is a list of lists."""
        return isinstance(self.inputs, list) and bool(self.inputs) and isinstance(self.inputs[0], list)

    def texts(self) -> list[Text]:
        """The texts and pairs.

        Raises:
            Refused: a list of no, or of more than two strings.
        """
        if isinstance(self.inputs, str):
            return [self.inputs]
        return [_text(each) for each in (self.inputs if self.is_batch else [self.inputs])]


def _text(given: list[Any] | Any) -> Text:
    if isinstance(given, list) and len(given) == 1:
        return str(given[0])
    if isinstance(given, list) and len(given) == 2:
        return (given[0], given[1])
    raise Refused(
        422,
        "Validation",
        f"`inputs` holds a list of {len(given)} strings; expected a string, a pair of strings [string, string], or a"
        " batch of mixed strings and pairs [[string], [string, string], ...]",
    )


class Scored(BaseModel):
    """One label of one text."""

    score: float
    label: str


class Info(BaseModel):
    """``/info``: what is served, and its limits."""

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None
    problem_type: str = Field(description="How the model's outputs are read, as its config.json says it.")
    thresholds: dict[str, float] | None = Field(
        None,
        description="Of several labels: each applies from this score on. Of classes: the one is answered whose score is"
        " highest beside its threshold (score / threshold). Calibrated as the scores are.",
    )
    calibration: dict[str, Any] | None = Field(
        None, description="Temperature and threshold that are applied; scores are sorted whatever the threshold."
    )
