"""A run's model as a folder to be used elsewhere: cut, converted, opened again as any user would, and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from glotune.data.encoding import Encoding
from glotune.data.texts import LabelledTexts, TextData
from glotune.engine.observer import Observer, watching
from glotune.errors import RunError, UserError
from glotune.model.families import Anatomy
from glotune.model.loading import load_classifier, load_tokenizer, quiet
from glotune.model.saving import save_tokenizer, write_window
from glotune.model.surgery.vocabulary import cut_for_good, special_ids_of
from glotune.recipe import Recipe, load_recipe
from glotune.run.directory import RunDirectory, now
from glotune.run.provenance import versions
from glotune.run.record import Size
from glotune.run.records import Manifest
from glotune.verbs.calibrate import read_calibration
from glotune.verbs.evaluate import read_own, texts_of
from glotune.verbs.export.card import card
from glotune.verbs.export.graph import require_onnx, save_graph, traced, with_half_weights
from glotune.verbs.export.parity import Judge, ask, said
from glotune.verbs.export.quantise import Quantised, quantise
from glotune.verbs.export.record import NAME, ExportRecord, Parity, Precision, Target, write_full_tokenizer
from glotune.verbs.export.vocabulary import CutVocabulary, cut_vocabulary
from glotune.verbs.opening import open_place
from glotune.verbs.predict import Predictor, load, onnx_model
from glotune.whole_files import output_folder, sha256
from glotune.words import millions

EXACT = 1e-4
"""Most that a probability may move in fp32, among texts that the vocabulary holds."""
PRECISIONS: Mapping[Target, tuple[Precision, ...]] = {
    "safetensors": ("fp32", "fp16", "bf16"),
    "onnx": ("fp32", "fp16", "int8"),
}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
WEIGHTS = (".safetensors", ".onnx", ".data")
HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class Export:
    """What was written."""

    path: Path
    record: ExportRecord


def export(
    run: str | Path,
    *,
    to: Target = "onnx",
    precision: Precision = "fp32",
    languages: Sequence[str] = (),
    texts: Sequence[str | Path] = (),
    out: str | Path | None = None,
    max_loss: float = 1.0,
    force: bool = False,
    observer: Observer | None = None,
) -> Export:
    """Writes a run's model to a folder that `glotune.load` opens, with ``export.json`` and a card.

    The folder appears whole or not at all. Its answers to the run's validation and test texts are compared with those
    of the run's model, both as ``glotune predict`` gives them.

    Args:
        run: a finished run.
        to: ``onnx``, for ONNX Runtime; ``safetensors``, an ordinary Hugging Face folder.
        precision: of the weights, and with ``int8`` of the products.
        languages: cut the vocabulary for good to what the run's texts in these languages use; none: see `texts`.
        texts: cut it to what the texts of these files use, beside those; neither: the vocabulary stays whole.
        out: the folder; None: a new one in ``RUN/exports``.
        max_loss: points of the run's metric (macro-F1; of scores, hundredths of Pearson's r) that an int8 export may
            lose on the validation texts.
        force: write an int8 export that loses more.

    Raises:
        UserError: no such run, a precision that the format has not, a folder in use, data that changed since, a
            vocabulary that can't be cut, or an int8 export that loses too much.
        RunError: the model can't be traced, or an fp32 export answers otherwise than the run.
        MissingExtra: ``glotune[onnx]`` is not installed.
    """
    directory, watcher = RunDirectory.open(run), watching(observer)
    _refuse_unfit(to, precision)
    target = Path(out) if out is not None else _place(directory, to, precision, [*languages, *texts])
    with output_folder(target) as folder:
        source = Source.of(directory)
        model = open_place(directory.path).model
        hf, _ = load_classifier(model)
        tokenizer = load_tokenizer(model)
        cut = _cut(hf, tokenizer, source, languages, texts, watcher) if languages or texts else None
        if cut is not None:
            write_full_tokenizer(folder, cut.full)
        save_tokenizer(tokenizer, folder)
        write_window(folder, source.recipe.data.max_length)
        quantised = None
        if to == "onnx":
            quantised = _write_graph(hf, tokenizer, source, folder, precision, max_loss, watcher)
        else:
            with quiet():
                hf.to(DTYPES[precision]).save_pretrained(folder)
        if quantised is not None and quantised.loss > max_loss and not force:
            raise _too_much(quantised, max_loss)
        record = _record(source, folder, to, precision, _parameters(hf), cut, quantised)
        _write(folder, record)
        record = record.model_copy(update={"parity": _compare(source, folder, watcher)})
        if precision == "fp32":
            _refuse_inexact(record.parity)
        (folder / "README.md").write_text(card(record), encoding="utf-8")
        _write(folder, record.model_copy(update={"files": _hashes(folder)}))
    return Export(target, record)


@dataclass(frozen=True)
class Source:
    """A run to export."""

    run: RunDirectory
    manifest: Manifest
    recipe: Recipe
    own: TextData
    """Its texts, all splits."""
    predictor: Predictor
    """Its model as it stands."""

    @classmethod
    def of(cls, run: RunDirectory) -> Source:
        predictor = load(run.path, device="cpu")
        manifest, recipe = run.read_manifest(), load_recipe(run.recipe)
        return cls(run, manifest, recipe, read_own(recipe, manifest), predictor)

    @property
    def judge(self) -> Judge:
        """What is right."""
        return Judge(self.predictor.kind, self.own.targets, self.manifest.decision)

    @property
    def held_out(self) -> list[LabelledTexts]:
        """The splits that exports are compared on."""
        return [self.own.splits[name] for name in HELD_OUT if name in self.own.splits]


def _refuse_unfit(to: Target, precision: Precision) -> None:
    if precision not in PRECISIONS[to]:
        raise UserError(
            f"--to {to} with --precision {precision}", expected=f"--precision {' or '.join(PRECISIONS[to])} with it"
        )
    if to == "onnx":
        require_onnx()


def _place(run: RunDirectory, to: Target, precision: Precision, cut_to: Sequence[str | Path]) -> Path:
    """``RUN/exports/onnx-int8-bn-hi``."""
    parts = [to, precision, *(Path(each).name.partition(".")[0] for each in cut_to)]
    return run.path / "exports" / "-".join(parts)[:80]


def _cut(
    hf: Any,
    tokenizer: Any,
    source: Source,
    languages: Sequence[str],
    files: Sequence[str | Path],
    observer: Observer,
) -> CutVocabulary:
    """Cuts tokenizer and embeddings, in place."""
    before = _parameters(hf)
    special = {*tokenizer.all_special_ids, *special_ids_of(hf.config)}
    cut = cut_vocabulary(tokenizer, sorted(special), source.own, source.recipe.data, languages=languages, files=files)
    cut_for_good(hf, cut.kept)
    observer.log(
        f"vocabulary: {cut.record.pieces:,} of {cut.record.full_pieces:,} pieces kept,"
        f" {millions(before)} parameters -> {millions(_parameters(hf))}"
    )
    return cut


def _write_graph(
    hf: Any,
    tokenizer: Any,
    source: Source,
    folder: Path,
    precision: Precision,
    max_loss: float,
    observer: Observer,
) -> Quantised | None:
    """``model.onnx`` and ``config.json``; what was measured on the way to 8 bits."""
    hf.config.architectures = [type(hf).__name__]
    hf.config.save_pretrained(folder)
    graph = traced(hf)
    if precision == "fp16":
        with_half_weights(graph)
    if precision != "int8":
        save_graph(graph, folder)
        return None
    texts = source.own.splits["validation"]
    store = Encoding(tokenizer, source.recipe.data).store(list(texts_of(texts)))
    return quantise(
        graph,
        Anatomy(hf).family.word_embeddings,
        folder,
        ask=lambda place: said(source.predictor, onnx_model(place, hf.config).logits(store)),
        score=lambda found: 100 * (source.judge.value(texts, found) or 0.0),
        max_loss=max_loss,
        log=observer.log,
    )


def _record(
    source: Source,
    folder: Path,
    to: Target,
    precision: Precision,
    parameters: int,
    cut: CutVocabulary | None,
    quantised: Quantised | None,
) -> ExportRecord:
    data = source.recipe.data
    return ExportRecord(
        target=to,
        precision=precision,
        run=source.manifest.name,
        recipe_hash=source.manifest.recipe_hash,
        created=now(),
        versions=versions(),
        task=source.recipe.task,
        metric=source.predictor.kind.metric,
        labels=source.manifest.labels,
        max_length=data.max_length,
        truncation=data.truncation,
        windows=data.windows,
        pairs=data.columns.text_pair is not None,
        columns=data.columns,
        quoting=data.quoting,
        needs_code=source.manifest.needs_code,
        calibration=read_calibration(source.run) if source.run.calibration.is_file() else None,
        before=Size(parameters=source.predictor.engine.model.parameters, bytes=_bytes(source.run.require_model())),
        after=Size(parameters=parameters, bytes=_bytes(folder)),
        vocabulary=cut and cut.record,
        parts=quantised.parts if quantised else [],
        validation_loss=quantised and quantised.loss,
    )


def _compare(source: Source, folder: Path, observer: Observer) -> list[Parity]:
    """The export, opened as any user would, beside the run's model."""
    exported = load(folder, device="cpu")
    found: list[Parity] = []
    for texts in source.held_out:

        def report(done: int, total: int) -> None:
            observer.progress("evaluate", done, total, {})

        before, after = (ask(each, texts, report) for each in (source.predictor, exported))
        found += source.judge.compared(texts, before, after)
    return found


def _refuse_inexact(rows: Sequence[Parity]) -> None:
    worst = max(rows, key=lambda row: row.largest_change_inside)
    if worst.largest_change_inside > EXACT:
        raise RunError(
            f"the answer to a {worst.split} text in {worst.language} moves by {worst.largest_change_inside:.2g}, and"
            f" an export in fp32 may move none by more than {EXACT:g}: nothing was written. This is a fault of glotune"
            " with this encoder: please report it with the encoder's config.json"
        )


def _too_much(found: Quantised, max_loss: float) -> UserError:
    return UserError(
        f"in 8 bits this model loses {found.loss:.2f} points of its metric on the validation texts",
        expected=f"at most {max_loss:g} (--max-loss)",
        remedy="Take --precision fp16, or write it all the same with --force",
    )


def _parameters(hf: Any) -> int:
    return sum(each.numel() for each in hf.parameters())


def _bytes(folder: Path) -> int:
    """Of the files of weights."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHTS)


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != NAME}


def _write(folder: Path, record: ExportRecord) -> None:
    content = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n"
    (folder / NAME).write_text(content, encoding="utf-8")
