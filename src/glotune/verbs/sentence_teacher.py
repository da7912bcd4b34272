"""The teacher of a pretraining run: checked before there is a run, and asked once for a vector of each text."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.nn import functional

from glotune.data.batches import Rows, collate, cut
from glotune.data.cache import open_or_build
from glotune.data.texts import LANGUAGE_TYPE, LabelledTexts, TextData, text_hash
from glotune.data.tokenization import tokenize
from glotune.engine.assembly import plan_for
from glotune.engine.forward import forward
from glotune.engine.plan import choose_precision
from glotune.engine.processes import Processes
from glotune.engine.recorder import Recorder
from glotune.errors import UserError
from glotune.model.card import Card
from glotune.model.cpu.tune import tune
from glotune.model.loading import check_fit, load_config, load_tokenizer
from glotune.model.pretraining import MaskedLanguageModel, load_masked_lm
from glotune.model.sources import locate
from glotune.recipe.pretrain import PretrainRecipe, Teacher
from glotune.run.record import Size
from glotune.run.records import Manifest
from glotune.run.teaching import Distillation as Record
from glotune.run.teaching import TeacherRecord
from glotune.tasks.contrast import sentence_vectors
from glotune.tasks.corpus import Corpus
from glotune.tasks.sentence_targets import Floats, SentenceVectors, Space, Targets, Taught
from glotune.verbs.distill import refuse_changed
from glotune.verbs.teachers import HASHED, WEIGHTS, identity
from glotune.words import counted, duration, rate

KEY = "teacher.name"


@dataclass(frozen=True)
class SentenceTeacher:
    """An encoder that was found and fits the student."""

    spec: Teacher
    width: int
    """D of its vectors."""
    student_width: int
    """H, at most D."""
    record: Record

    def teach(
        self,
        recipe: PretrainRecipe,
        content: TextData,
        corpus: Corpus,
        cache: Path,
        processes: Processes,
        recorder: Recorder,
    ) -> Taught:
        """The targets of all texts, in the student's width; the teacher is asked where the cache has no answers yet.

        Args:
            content, corpus: the same texts, as `glotune.tasks.corpus` lays them out.
        """
        splits = content.splits
        of_translations = self.spec.target == "translation"
        unasked = {"train": corpus.pairs, "validation": corpus.held_pairs} if of_translations else {}
        different, places = different_texts(splits, self.spec.prefix, unasked)
        vectors_UD = self._vectors(recipe, different, cache, processes, recorder)
        train, held_out = (
            SentenceVectors(vectors_UD, places[name], split.language_ids, split.language_names)
            for name, split in (("train", splits["train"]), ("validation", splits["validation"]))
        )
        space = Space.of(train, self.spec.centre, self.student_width)
        held_items = len(splits["validation"]) - corpus.held_pairs
        return Taught(
            self.spec,
            Targets(train, space, corpus.items, corpus.pairs, of_translations),
            Targets(held_out, space, held_items, corpus.held_pairs, of_translations),
        )

    def _vectors(
        self, recipe: PretrainRecipe, texts: LabelledTexts, cache: Path, processes: Processes, recorder: Recorder
    ) -> Floats:
        """[U, D], memory-mapped. The key names what they depend on: the teacher, how it reads, the texts."""
        spec, sha256 = self.spec, self.record.teachers[0].sha256
        precision, _ = choose_precision(recipe.train.precision, Card.of(processes.device), self.width)
        reads = "\x1f".join(["vectors 1", sha256, spec.pooling, spec.prefix, str(spec.max_length), precision])
        key = hashlib.sha256(reads.encode() + text_hash(texts)).hexdigest()[:40]
        started = time.perf_counter()
        build = partial(self._write, recipe, texts, cache, processes, recorder)
        folder, was_there = open_or_build(cache / "teachers", key, build, on_warning=recorder.warn)
        seconds, number = time.perf_counter() - started, counted(len(texts), "different text")
        if was_there:
            recorder.log(f"the vectors of {spec.name} for {number} are in the cache")
        else:
            pace = rate(len(texts) / seconds, "texts")
            recorder.log(f"asked {spec.name} about {number} in {duration(seconds)} ({pace})")
        vectors: Floats = np.load(folder / "vectors.npy", mmap_mode="r")
        return vectors

    def _write(
        self,
        recipe: PretrainRecipe,
        texts: LabelledTexts,
        cache: Path,
        processes: Processes,
        recorder: Recorder,
        folder: Path,
    ) -> None:
        """``vectors.npy`` [U, D] float32, each of length 1.

        Raises:
            UserError: the teacher can't be read, or its vectors are not finite.
        """
        network, tokenizer = open_encoder(self.spec)
        plan = plan_for(recipe.settings, network, processes, Card.of(processes.device))
        network.to(processes.device)
        tune(network, processes.device.type, plan.precision, training=False)
        asked = TextData({"teacher": texts}, ["text"], [], [], "")
        store = tokenize(asked, tokenizer, self.spec, cache, on_warning=recorder.warn)["teacher"]
        pieces = cut(np.arange(len(store)), store.lengths, plan.token_budget)
        vectors_UD = np.lib.format.open_memmap(
            folder / "vectors.npy", mode="w+", dtype=np.float32, shape=(len(store), self.width)
        )
        done, report = 0, recorder.progress("teacher")
        for batch, vectors_BD in forward(
            (collate(store, rows, uncounted=network.uncounted) for rows, _ in pieces),
            network,
            device=processes.device,
            precision=plan.precision,
            through=lambda batch: sentence_vectors(network(batch), batch.cu_seqlens, self.spec.pooling)[0],
        ):
            if not bool(torch.isfinite(vectors_BD).all()):
                expected = "a teacher that has not diverged"
                raise UserError("the teacher's vectors are not finite", where=KEY, expected=expected)
            vectors_UD[batch.rows] = functional.normalize(vectors_BD, dim=1).cpu().numpy()
            done += len(batch)
            report(done, len(store))
        vectors_UD.flush()


def different_texts(
    splits: Mapping[str, LabelledTexts], prefix: str, unasked: Mapping[str, int]
) -> tuple[LabelledTexts, dict[str, Rows]]:
    """The different texts of all splits, in the order in which they come, and where each text of a split lies there.

    Args:
        prefix: put before each.
        unasked: split -> how many of its first texts are left out; -1 is their place.
    """
    first = {name: unasked.get(name, 0) for name in splits}
    tables = [split.table["text"].slice(first[name]) for name, split in splits.items()]
    found = pa.chunked_array([chunk for each in tables for chunk in each.chunks]).combine_chunks().dictionary_encode()
    parts = np.split(found.indices.to_numpy().astype(np.int64), np.cumsum([len(each) for each in tables])[:-1])
    places = {name: np.concatenate([np.full(first[name], -1), part]) for name, part in zip(splits, parts, strict=True)}
    number = len(found.dictionary)
    table = pa.table(
        {
            "text": pc.binary_join_element_wise(prefix, found.dictionary, ""),
            "label": pa.array(np.zeros(number, np.int16)),
            "language": pa.array(["und"] * number).dictionary_encode().cast(LANGUAGE_TYPE),
            "row": pa.array(np.arange(1, number + 1, dtype=np.int32)),
            "source": pa.array(np.zeros(number, np.int16)),
            "key": pa.array(np.arange(number, dtype=np.int64)),
        }
    )
    return LabelledTexts(table, "teacher"), places


def open_sentence_teacher(recipe: PretrainRecipe, begun: Manifest | None = None) -> SentenceTeacher | None:
    """Finds the teacher of a recipe and looks whether it fits the student; writes nothing. None without ``teacher``.

    Args:
        begun: the manifest of a run that goes on: with the same teacher, or not at all.

    Raises:
        UserError: it can't be read, is narrower than the student, or changed since the run began.
    """
    spec = recipe.teacher
    if spec is None:
        return None
    with said_of_the_teacher():
        config, folder = load_config(spec.source), folder_of(spec)
    width = student_width(recipe)
    if width > config.hidden_size:
        raise UserError(
            f"{spec.name} is {config.hidden_size} wide, the encoder that shall learn its vectors {width}",
            where=KEY,
            expected=f"a teacher of {width} or more, or a narrower student",
            remedy="Set model.scratch.hidden_size, or name another teacher",
        )
    if recipe.model.name is not None and locate(recipe.model.source) == str(folder) and recipe.model.layers is None:
        expected = "another encoder, or its first layers (model.layers)"
        raise UserError(f"{spec.name} is the student itself", where=KEY, expected=expected)
    weights = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in WEIGHTS)
    teacher = TeacherRecord(name=spec.name, sha256=identity(folder), size=Size(parameters=0, bytes=weights))
    record = Record(teachers=[teacher])
    if begun is not None and begun.distillation is not None:
        refuse_changed(begun.distillation, record)
    return SentenceTeacher(spec, width=int(config.hidden_size), student_width=width, record=record)


def student_width(recipe: PretrainRecipe) -> int:
    """H of the encoder that is trained."""
    scratch = recipe.model.scratch
    return scratch.hidden_size if scratch is not None else int(load_config(recipe.model.source).hidden_size)


def folder_of(spec: Teacher) -> Path:
    """Where the teacher's files lie: a folder, or the Hub's copy of it here, fetched where there is none."""
    place = Path(locate(spec.source))
    if place.is_dir():
        return place
    from huggingface_hub import snapshot_download

    patterns = [f"*{suffix}" for suffix in HASHED]
    return Path(snapshot_download(spec.name, revision=spec.revision, allow_patterns=patterns))


def open_encoder(spec: Teacher) -> tuple[MaskedLanguageModel, Any]:
    """The teacher and its tokenizer.

    Raises:
        UserError: it can't be read, does not run packed, or the two don't fit.
    """
    with said_of_the_teacher():
        tokenizer, hf = load_tokenizer(spec.source), load_masked_lm(spec.source, lambda line: None)
        check_fit(hf, tokenizer, spec.max_length)
        return MaskedLanguageModel(hf), tokenizer


@contextmanager
def said_of_the_teacher() -> Iterator[None]:
    """What is wrong with an encoder is wrong with the teacher: under its keys of the recipe."""
    try:
        yield
    except UserError as error:
        for own, ours in (("model.", "teacher."), ("data.max_length", "teacher.max_length")):
            error = error.with_words(own, ours)
        raise error from error.__cause__
