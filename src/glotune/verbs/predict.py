"""A trained model to predict with: of a run, or any saved text classifier; and its answers as JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from glotune.data.encoding import Encoding, Text
from glotune.data.spelling import is_blank
from glotune.data.tokenization import fast_backend
from glotune.engine.onnx import GRAPH, OnnxModel
from glotune.engine.plan import TPU_TOKENS, choose_device
from glotune.engine.predict import WINDOW, Answering, Engine, TorchModel
from glotune.errors import UserError
from glotune.model.families import MIXES_PADDING, Anatomy
from glotune.model.loading import (
    StatedHead,
    check_fit,
    load_classifier,
    load_config,
    load_tokenizer,
    positions_of,
    refuse_unusable,
)
from glotune.model.network import Network
from glotune.recipe.data_keys import Quoting
from glotune.recipe.kinds import KINDS, Kind, TaskName
from glotune.recipe.schema import Columns, Data, Windows
from glotune.stats.arrays import sigmoid, softmax
from glotune.stats.thresholds import answers_at
from glotune.verbs.calibrate import Calibration
from glotune.verbs.export.record import read_full_vocabulary
from glotune.verbs.opening import Opened, open_place
from glotune.verbs.predict_inputs import Row
from glotune.whole_files import output_file

TOKENS = {"cpu": 2048, "mps": 2048, "cuda": 32_768, "tpu": TPU_TOKENS}
"""Micro-batch budget where no run's plan says one for this device."""
LONGEST_UNSTATED = 512
"""max_length of a saved model that states none."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one text."""

    label: str | None
    """The class; None where the model answers several labels, or scores."""
    probabilities: dict[str, float] = field(default_factory=dict)
    """Label name -> probability, in the order of the class ids; of several labels each by itself, of scores none."""
    truncated: bool = False
    """Whether the text was longer than the model reads, and cut."""
    outside: bool = False
    """Whether it holds pieces that were cut from the vocabulary of an export, and was read in smaller ones."""
    labels: list[str] | None = None
    """The labels that apply, where the model answers several."""
    scores: dict[str, float] | None = None
    """Name -> score, where the model answers scores."""

    @property
    def answer(self) -> dict[str, Any]:
        """What is written of it, in the terms of its task."""
        if self.scores is not None:
            return {"scores": self.scores}
        named = {"label": self.label} if self.labels is None else {"labels": self.labels}
        return {**named, "probabilities": self.probabilities}


@dataclass(frozen=True, repr=False)
class Predictor:
    """Predicts labels or scores for texts, or pairs of texts, of any number."""

    engine: Engine
    labels: list[str]
    takes_pairs: bool | None
    """Whether the model was trained on pairs; None where that is not known."""
    calibration: Calibration | None = None
    columns: Columns | None = None
    """The columns of the run's recipe; None for a folder of another origin."""
    quoting: Quoting = "standard"
    """How the run's recipe reads CSV and TSV files."""
    kind: Kind = KINDS["single_label"]
    """Of the task: what the model answers."""
    thresholds: list[float] = field(default_factory=list)
    """Of each label, where the model answers several: it is answered from this probability on. Of classes the one is
    answered whose probability is highest beside its threshold; none: the most probable one."""

    def __repr__(self) -> str:
        """``Predictor(labels=['no', 'yes'], device='cpu', precision='fp32')``, and what else it takes."""
        more = ", takes_pairs=True" if self.takes_pairs else ""
        more += ", calibrated=True" if self.calibration is not None else ""
        model = self.engine.model
        return f"Predictor(labels={self.labels!r}, device={model.device!r}, precision={model.precision!r}{more})"

    @property
    def max_length(self) -> int:
        """Tokens read of a text, in one window or several, special tokens included; longer ones are cut."""
        return self.engine.encoding.reach.tokens

    @property
    def label_thresholds(self) -> NDArray[np.float64]:
        """[L] where the model answers several labels; 1/2 each where nothing states them."""
        return np.array(self.thresholds or [0.5] * len(self.labels))

    @property
    def stated_thresholds(self) -> list[float]:
        """`thresholds` beside the probabilities that `read` gives: p ** (1/T) / t ** (1/T) rises with p / t."""
        if self.calibration is None or not self.thresholds:
            return self.thresholds
        of_L = np.array(self.thresholds)
        if self.kind.name == "multi_label":  # each label is a class beside its absence
            return self.calibration.probabilities(np.stack([1.0 - of_L, of_L], axis=1))[:, 1].tolist()
        return self.calibration.probabilities(of_L[None])[0].tolist()

    def predict(self, texts: Sequence[Text]) -> list[Prediction]:
        """One prediction per text (or per pair, as a tuple), in their order.

        Raises:
            UserError: a text is empty or no string, or pairs where single texts are expected and vice versa.
        """
        if isinstance(texts, str):
            raise UserError("one string was given", expected="a list of texts", remedy="Write predict([text])")
        return list(self.stream(texts))

    def stream(self, texts: Iterable[Text], window: int = WINDOW) -> Iterator[Prediction]:
        """As `predict`, for a stream: at most `window` texts are held at a time."""
        for logits_NC, *marks in self.engine.stream(self._checked(texts), window):
            values_NC, answers = self.read(logits_NC)
            for answer, row, cut, outside in zip(answers, values_NC, *(each.tolist() for each in marks), strict=True):
                yield self._prediction(answer, dict(zip(self.labels, row.tolist(), strict=True)), cut, outside)

    def _prediction(self, answer: Any, values: dict[str, float], cut: bool, outside: bool) -> Prediction:
        if self.kind.name == "score":
            return Prediction(None, truncated=cut, outside=outside, scores=values)
        if self.kind.name == "multi_label":
            named = [name for name, applies in zip(self.labels, answer, strict=True) if applies]
            return Prediction(None, values, cut, outside, labels=named)
        return Prediction(self.labels[answer], values, cut, outside)

    def predict_proba(self, texts: Sequence[Text]) -> NDArray[np.float64]:
        """Probabilities_NC, columns in the order of `labels`; of scores these themselves."""
        return self.read(self.logits(texts))[0]

    def logits(self, texts: Sequence[Text]) -> NDArray[np.float64]:
        """Logits_NC, which `read` makes answers of; raises UserError as `predict`."""
        found = [each.logits_NC for each in self.engine.stream(self._checked(texts))]
        return np.concatenate(found) if found else np.empty((0, len(self.labels)))

    def read(self, logits_NC: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """Probabilities_NC and class ids_N, calibrated where this predictor is.

        Of several labels the answers are [N, L], whether each applies; of scores both are the scores.
        """
        if self.kind.name == "score":
            return logits_NC, logits_NC
        if self.kind.name == "multi_label":
            return self._labels_in(logits_NC)
        probabilities = softmax(logits_NC)
        calibrated = probabilities if self.calibration is None else self.calibration.probabilities(probabilities)
        if self.thresholds:  # of the probabilities as they were: a temperature leaves the answers
            return calibrated, answers_at(probabilities, np.array(self.thresholds))
        return calibrated, calibrated.argmax(axis=1) if self.calibration is None else self.calibration.answers(
            calibrated
        )

    def _labels_in(self, logits_NC: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        probabilities_NC = sigmoid(logits_NC)
        answers_NC = probabilities_NC >= self.label_thresholds
        if self.calibration is None:
            return probabilities_NC, answers_NC
        # A temperature moves a probability and its threshold alike: the answers stay.
        return sigmoid(logits_NC / self.calibration.temperature), answers_NC

    def _checked(self, texts: Iterable[Text]) -> Iterator[Text]:
        for number, given in enumerate(texts, 1):
            text = tuple(given) if isinstance(given, list) else given
            problem = problem_of(text, self.takes_pairs)
            if problem:
                raise UserError(problem, where=f"text {number}", expected=_expected(self.takes_pairs))
            yield text


def problem_of(text: Any, takes_pairs: bool | None) -> str | None:
    """What makes `text` unfit for prediction; None where nothing does."""
    if isinstance(text, str):
        if takes_pairs:
            return "a single text for a model of text pairs"
        return problem_of_characters(text) if not is_blank(text) else "an empty text"
    if isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text):
        if takes_pairs is False:
            return "a pair for a model of single texts"
        if any(map(is_blank, text)):
            return "an empty text in a pair"
        return problem_of_characters("".join(text))
    return f"{type(text).__name__} {str(text)[:40]!r} instead of a text"


def problem_of_characters(text: str) -> str | None:
    """A lone surrogate is no character, and no tokenizer takes it; None where there is none."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"no text: character {error.start + 1} is the lone surrogate {text[error.start]!a}"
    return None


def _expected(takes_pairs: bool | None) -> str:
    return "two texts with content, as a tuple" if takes_pairs else "a string with content"


def load(
    path: str | Path,
    *,
    calibrated: bool = False,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Predictor:
    """Opens a run, an export, or a folder with a saved text classifier, to predict with.

    Args:
        path: a run directory, its ``model`` folder, a folder that ``glotune export`` wrote, or any folder that
            transformers' text classification opens.
        calibrated: apply what ``glotune calibrate`` fitted for the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; an ONNX export runs on the CPU.
        precision: ``fp32`` gives the scores of transformers' pipeline, whatever the run was trained in; ``bf16`` is
            faster where the hardware has it, and moves probabilities by up to about 0.01. An ONNX export has its own.

    Raises:
        UserError: nothing there, not calibrated, or no classifier that chooses one of several classes: a head that is
            missing, of other sizes than its ``config.json`` says, or of another task.
        RunError: the run holds no model yet.
    """
    opened = open_place(path, calibrated=calibrated)
    tokenizer = load_tokenizer(opened.model)
    loaded = (
        _through_onnx(opened, tokenizer) if opened.is_onnx else _through_torch(opened, tokenizer, device, precision)
    )
    if opened.labels is not None and loaded.labels != opened.labels:
        raise UserError(
            f"the model in {opened.folder} has the labels {', '.join(loaded.labels)}",
            expected=f"those of its run: {', '.join(opened.labels)}",
            remedy="Put back the model that the run saved, or predict with the folder alone, outside the run",
        )
    kind = next(each for each in KINDS.values() if each.problem_type == loaded.head.problem_type)
    if opened.task is not None and kind.name != opened.task:
        raise UserError(
            f"the model in {opened.folder} answers {loaded.head.answers}",
            expected=f"what its run was trained for: {opened.task}",
            remedy="Put back the model that the run saved, or predict with the folder alone, outside the run",
        )
    data = opened.data or Data(
        train=str(opened.folder), max_length=loaded.max_length, windows=loaded.windows, normalization="none"
    )
    full = read_full_vocabulary(opened.folder, fast_backend(tokenizer))
    return Predictor(
        engine=Engine(loaded.model, Encoding(tokenizer, data, full)),
        labels=loaded.labels,
        kind=kind,
        thresholds=loaded.thresholds if opened.decision is None else opened.decision.thresholds,
        takes_pairs=opened.takes_pairs,
        calibration=opened.calibration,
        columns=None if opened.data is None else opened.data.columns,
        quoting=data.quoting,
    )


class _Loaded(NamedTuple):
    model: Answering
    head: StatedHead
    max_length: int
    """Tokens read of a text."""
    thresholds: list[float]
    """Where ``config.json`` states them."""
    windows: Windows | None
    """How longer texts are read, where ``config.json`` states it."""

    @property
    def labels(self) -> list[str]:
        """As ``config.json`` names them."""
        return self.head.labels


def _through_torch(opened: Opened, tokenizer: Any, device: str, precision: Literal["fp32", "bf16"]) -> _Loaded:
    kind = choose_device(device, key=None)
    budget = opened.plan.token_budget if opened.plan is not None and opened.plan.device == kind else TOKENS[kind]
    hf, _ = load_classifier(opened.model)
    max_length = _longest(positions_of(Anatomy(hf)), tokenizer) if opened.data is None else opened.data.max_length
    check_fit(hf, tokenizer, max_length)
    model = TorchModel(Network(hf), kind, precision, budget)
    return _Loaded(model, StatedHead.of(hf.config), max_length, _thresholds(hf.config), _windows(hf.config))


def _through_onnx(opened: Opened, tokenizer: Any) -> _Loaded:
    config = load_config(opened.model)
    refuse_unusable(config, str(opened.folder))
    model = onnx_model(opened.folder, config, "fp32" if opened.export is None else opened.export.precision)
    max_length = _longest(None, tokenizer) if opened.data is None else opened.data.max_length
    return _Loaded(model, StatedHead.of(config), max_length, _thresholds(config), _windows(config))


def _thresholds(config: Any) -> list[float]:
    """Those that ``config.json`` states for each of its labels; none otherwise."""
    stated, names = getattr(config, "thresholds", None), StatedHead.of(config).labels
    return [float(stated[name]) for name in names] if isinstance(stated, dict) and set(names) <= set(stated) else []


def _windows(config: Any) -> Windows | None:
    """Those that ``config.json`` states in glotune's words; None where another program's key has this name."""
    stated = getattr(config, "windows", None)
    is_ours = isinstance(stated, dict) and set(stated) == set(Windows.model_fields)
    return Windows.model_validate(stated) if is_ours else None


def onnx_model(folder: Path, config: Any, precision: str = "fp32") -> OnnxModel:
    """The graph in a folder, as its configuration (``PreTrainedConfig``) wants it run."""
    return OnnxModel(
        folder / GRAPH,
        threads=torch.get_num_threads(),
        token_budget=TOKENS["cpu"],
        pad_token_id=config.pad_token_id or 0,
        precision=precision,
        one_length=config.model_type in MIXES_PADDING,
    )


def _longest(positions: int | None, tokenizer: Any) -> int:
    """The most tokens that encoder and tokenizer both take."""
    stated = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < 1_000_000 else []
    limits = stated if positions is None else [*stated, positions]
    return min(limits) if limits else LONGEST_UNSTATED


OutputFormat = Literal["jsonl", "csv"]
Write = Callable[[Row, Prediction], None]
ANSWER_COLUMNS: dict[TaskName, list[str]] = {"single_label": ["label"], "multi_label": ["labels"], "score": []}
"""Of a table of predictions, before its numbers."""


def format_of(path: Path | None, wanted: OutputFormat | None) -> OutputFormat:
    """`wanted`, else what the file's name ends in, else JSON lines."""
    if wanted is not None:
        return wanted
    return "csv" if path is not None and path.suffix.lower() == ".csv" else "jsonl"


def writer(file: IO[str], kind: OutputFormat, labels: list[str], pairs: bool, task: TaskName = "single_label") -> Write:
    """Writes predictions to `file`, one per line: row, text, label, and a probability per label.

    Of several labels it is the labels that apply (in CSV joined by ``|``), of scores the scores.
    """
    if kind == "jsonl":

        def write_json(row: Row, prediction: Prediction) -> None:
            texts = _texts(row.text)
            record = {"row": row.number, **texts, **prediction.answer}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

        return write_json
    table = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # else a lone \r stays bare
    columns = ["row", "text", *(["text_pair"] if pairs else []), *ANSWER_COLUMNS[task]]
    table.writerow([*columns, *(f"{'score' if task == 'score' else 'probability'}_{label}" for label in labels)])

    def write_csv(row: Row, prediction: Prediction) -> None:
        said = [] if prediction.label is None else [prediction.label]
        said = said if prediction.labels is None else ["|".join(prediction.labels)]
        values = prediction.probabilities if prediction.scores is None else prediction.scores
        table.writerow([row.number, *_texts(row.text).values(), *said, *values.values()])

    return write_csv


def _texts(text: Text) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "text_pair": text[1]}


@contextmanager
def whole_file(path: Path) -> Iterator[IO[str]]:
    """A text file that is whole at the end; on any error nothing is left, and an older file stays as it was.

    A pipe, a device or an open descriptor is written straight into; see `glotune.whole_files.output_file`.

    Raises:
        UserError: it can't be written there.
    """
    with output_file(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield text
        finally:
            text.detach()  # written out, and left for `output_file` to close
