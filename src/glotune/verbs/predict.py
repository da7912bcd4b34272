"""A trained model to predict with: of a run, or any saved text classifier; and its answers as JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from glotune.data.encoding import Encoding, Text
from glotune.data.spelling import is_blank
from glotune.engine.plan import TPU_TOKENS, choose_device
from glotune.engine.predict import WINDOW, Engine
from glotune.errors import UserError
from glotune.model.families import Anatomy
from glotune.model.loading import check_fit, load_classifier, load_tokenizer, positions_of
from glotune.model.network import Network
from glotune.recipe import load_recipe
from glotune.recipe.paths import place_of
from glotune.recipe.schema import Columns, Data, Model, Quoting
from glotune.run.directory import RunDirectory
from glotune.stats.arrays import softmax
from glotune.verbs.calibrate import Calibration, read_calibration
from glotune.verbs.predict_inputs import Row
from glotune.whole_files import output_file

TOKENS = {"cpu": 2048, "mps": 2048, "cuda": 32_768, "tpu": TPU_TOKENS}
"""Micro-batch budget where no run's plan says one for this device."""
LONGEST_UNSTATED = 512
"""max_length of a saved model that states none."""


@dataclass(frozen=True)
class Prediction:
    """What the model says of one text."""

    label: str
    probabilities: dict[str, float]
    """Label name -> probability, in the order of the class ids."""
    truncated: bool = False
    """Whether the text was longer than the model reads, and cut."""


@dataclass(frozen=True, repr=False)
class Predictor:
    """Predicts labels for texts, or pairs of texts, of any number."""

    engine: Engine
    labels: list[str]
    takes_pairs: bool | None
    """Whether the model was trained on pairs; None where that is not known."""
    calibration: Calibration | None = None
    columns: Columns | None = None
    """The columns of the run's recipe; None for a folder of another origin."""
    quoting: Quoting = "standard"
    """How the run's recipe reads CSV and TSV files."""

    def __repr__(self) -> str:
        """``Predictor(labels=['no', 'yes'], device='cpu', precision='fp32')``, and what else it takes."""
        more = ", takes_pairs=True" if self.takes_pairs else ""
        more += ", calibrated=True" if self.calibration is not None else ""
        engine = self.engine
        return f"Predictor(labels={self.labels!r}, device={engine.device!r}, precision={engine.precision!r}{more})"

    @property
    def max_length(self) -> int:
        """Tokens read of a text, special tokens included; longer ones are cut."""
        return self.engine.encoding.data.max_length

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
        for logits_NC, truncated_N in self.engine.stream(self._checked(texts), window):
            probabilities, answers = self.read(logits_NC)
            for answer, row, cut in zip(answers, probabilities, truncated_N.tolist(), strict=True):
                yield Prediction(self.labels[answer], dict(zip(self.labels, row.tolist(), strict=True)), cut)

    def predict_proba(self, texts: Sequence[Text]) -> NDArray[np.float64]:
        """Probabilities_NC, columns in the order of `labels`."""
        found = [self.read(logits_NC)[0] for logits_NC, _ in self.engine.stream(self._checked(texts))]
        return np.concatenate(found) if found else np.empty((0, len(self.labels)))

    def read(self, logits_NC: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Probabilities_NC and class ids_N, calibrated where this predictor is."""
        probabilities = softmax(logits_NC)
        if self.calibration is None:
            return probabilities, probabilities.argmax(axis=1)
        calibrated = self.calibration.probabilities(probabilities)
        return calibrated, self.calibration.answers(calibrated)

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
    """Opens a run, or a folder with a saved text classifier, to predict with.

    Args:
        path: a run directory, its ``model`` folder, or any folder that transformers' text classification opens.
        calibrated: apply what ``glotune calibrate`` fitted for the run.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``fp32`` gives the scores of transformers' pipeline, whatever the run was trained in; ``bf16`` is
            faster where the hardware has it, and moves probabilities by up to about 0.01.

    Raises:
        UserError: nothing there, not calibrated, or no classifier that chooses one of several classes: a head that is
            missing, of other sizes than its ``config.json`` says, or of another task.
        RunError: the run holds no model yet.
    """
    where = place_of(path)
    run = run_of(where)
    if run is None:
        if calibrated:
            raise UserError(f"{path} is not a run, and only runs are calibrated", expected="a run directory")
        kind = choose_device(device, key=None)
        return _assemble(
            where,
            labels=None,
            data=None,
            device=kind,
            precision=precision,
            token_budget=TOKENS[kind],
            takes_pairs=None,
            calibration=None,
        )
    manifest = run.read_manifest()
    if manifest.kind != "train":
        raise UserError(f"{run.path} is a pretraining run: it has no classifier", expected="a run of glotune train")
    recipe = load_recipe(run.recipe)
    kind = choose_device(device, key=None)
    plan = manifest.plan if manifest.plan is not None and manifest.plan.device == kind else None
    return _assemble(
        run.require_model(),
        labels=manifest.labels,
        data=recipe.data,
        device=kind,
        precision=precision,
        token_budget=plan.token_budget if plan else TOKENS[kind],
        takes_pairs=recipe.data.columns.text_pair is not None,
        calibration=read_calibration(run) if calibrated else None,
    )


def run_of(path: Path) -> RunDirectory | None:
    """The run that `path` is, or whose model folder it is; None for any other folder."""
    for folder in (path, path.parent if path.name == "model" else path):
        if (folder / "manifest.json").is_file():
            return RunDirectory(folder)
    if not (path / "config.json").is_file():
        RunDirectory.open(path)  # raises, saying what is wrong
    return None


def _assemble(
    folder: Path,
    *,
    labels: list[str] | None,
    data: Data | None,
    device: str,
    precision: Literal["fp32", "bf16"],
    token_budget: int,
    takes_pairs: bool | None,
    calibration: Calibration | None,
) -> Predictor:
    model = Model(name=str(folder))
    tokenizer = load_tokenizer(model)
    hf, stated = load_classifier(model)
    if labels is not None and stated != labels:
        raise UserError(
            f"the model in {folder} has the labels {', '.join(stated)}",
            expected=f"those of its run: {', '.join(labels)}",
            remedy="Put back the model that the run saved, or predict with the folder alone, outside the run",
        )
    columns = None if data is None else data.columns
    if data is None:
        data = Data(train=str(folder), max_length=_longest(hf, tokenizer), normalization="none")
    check_fit(hf, tokenizer, data.max_length)
    network = Network(hf)
    return Predictor(
        engine=Engine(network, Encoding(tokenizer, data), device, precision, token_budget),
        labels=stated,
        takes_pairs=takes_pairs,
        calibration=calibration,
        columns=columns,
        quoting=data.quoting,
    )


def _longest(hf: Any, tokenizer: Any) -> int:
    """The most tokens that encoder and tokenizer both take."""
    limits = [int(tokenizer.model_max_length)] if tokenizer.model_max_length < 1_000_000 else []
    positions = positions_of(Anatomy(hf))
    if positions is not None:
        limits.append(positions)
    return min(limits) if limits else LONGEST_UNSTATED


OutputFormat = Literal["jsonl", "csv"]
Write = Callable[[Row, Prediction], None]


def format_of(path: Path | None, wanted: OutputFormat | None) -> OutputFormat:
    """`wanted`, else what the file's name ends in, else JSON lines."""
    if wanted is not None:
        return wanted
    return "csv" if path is not None and path.suffix.lower() == ".csv" else "jsonl"


def writer(file: IO[str], kind: OutputFormat, labels: list[str], pairs: bool) -> Write:
    """Writes predictions to `file`, one per line: row, text, label, and a probability per label."""
    if kind == "jsonl":

        def write_json(row: Row, prediction: Prediction) -> None:
            texts = _texts(row.text)
            record = {"row": row.number, **texts, "label": prediction.label, "probabilities": prediction.probabilities}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

        return write_json
    table = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)  # else a lone \r stays bare
    columns = ["row", "text", *(["text_pair"] if pairs else []), "label"]
    table.writerow([*columns, *(f"probability_{label}" for label in labels)])

    def write_csv(row: Row, prediction: Prediction) -> None:
        table.writerow([row.number, *_texts(row.text).values(), prediction.label, *prediction.probabilities.values()])

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
