"""`glotune data check`: a thorough look at labelled texts before anything is trained on them, and its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from glotune.data import findings
from glotune.data.coded_columns import distinct
from glotune.data.csv_files import SwallowingRow, about_swallowed
from glotune.data.findings import Finding, Rows
from glotune.data.pools import refuse_unfit_weights
from glotune.data.profile import shared_texts, split_profile, word_counts
from glotune.data.reading import awaiting_lists
from glotune.data.selection import Selected, select
from glotune.data.source_table import load_source
from glotune.data.sources import find_sources
from glotune.data.targets import meaning_of, words_of
from glotune.data.texts import LabelledTexts, SkippedRow, TextData, content_hash
from glotune.data.tokenization import fast_backend, inputs_of, untruncated
from glotune.data.unicode_form import normalising
from glotune.data.windows import Reach
from glotune.errors import UserError
from glotune.recipe.kinds import TaskName
from glotune.recipe.schema import Data
from glotune.run.record import DataSource
from glotune.whole_files import write_output
from glotune.words import count, named

UNDETERMINED = "und"
"""ISO 639-2 for texts of undetermined language."""
CHUNK = 2048
ORDER = ("train", "validation", "test")
CHOOSING = frozenset({
    "validation", "test", "hide_test", "made_splits", "translations", "unlabelled", "few_shot", "fraction",
    "train_rows", "augment",
})  # fmt: skip
"""Keys of the section data that name further texts, or some of the rows of ``data.train``."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found."""

    sources: list[DataSource]
    labels: list[str]
    splits: dict[str, dict[str, dict[str, Any]]]
    """split -> language -> rows, label_counts, lengths, duplicates, and (with a tokenizer) fertility, truncation."""
    shared_texts: dict[str, int]
    """language -> distinct texts in two or more splits."""
    findings: list[Finding]
    notes: list[str]
    """What could not be looked at, and why."""

    def exit_code(self, *, strict: bool = False) -> int:
        """0: nothing found that would mislead; 3: problems, or with `strict` also warnings."""
        grave = {"problem", "warning"} if strict else {"problem"}
        return 3 if any(finding.severity in grave for finding in self.findings) else 0


def chooses_rows(data: Data) -> bool:
    """Whether keys beside ``data.train`` say which texts are meant: then they are read as training reads them."""
    return bool(data.model_fields_set & CHOOSING)


def read_all(data: Data, task: TaskName = "single_label", on_note: Progress | None = None) -> TextData:
    """Every row of ``data.train``, whatever split it belongs to, for looking at files without a recipe.

    Splits are named as ``data.split_names`` says, or as in the file where it does not; ``all`` where neither the file
    nor, in a folder, its name says one. Labels are those of all rows. An undetermined language is ``und``.

    Args:
        task: what a label is.
        on_note: called with how the names in a folder were understood.

    Raises:
        UserError: as `glotune.data.reading.read_texts`, but for what concerns splits and label counts.
    """
    data = awaiting_lists(data) if task == "multi_label" else data
    known = data if data.source_languages else data.model_copy(update={"source_languages": [UNDETERMINED]})
    sources = find_sources(data.train, "data.train", data.split_names, on_note)
    loaded = {source: load_source(source, data) for source in sources}
    chosen = [select(source, table, index, known) for index, (source, table) in enumerate(loaded.items())]
    paths = {index: source.name for index, source in enumerate(loaded)}
    values = sorted({value for rows in chosen for value in distinct(rows.table["label"])})
    are_classes = task == "single_label" and data.columns.votes is None
    if are_classes and data.labels is None and len(values) == 1:
        raise UserError(f"the one label '{values[0]}' in all rows", where="data.train", expected="at least two classes")
    labels = meaning_of(task, data, values)
    by_split = _by_split(chosen, data)
    weighed = ("all", *(ORDER if data.weighted_metrics else ORDER[:1]))
    for name, table in by_split.items():
        if name in weighed:
            refuse_unfit_weights(table, paths)
    splits = {
        name: LabelledTexts(labels.apply(table, paths).unify_dictionaries(), name) for name, table in by_split.items()
    }
    return TextData(
        splits=splits,
        labels=labels.names,
        sources=[table.record for table in loaded.values()],
        source_languages=data.source_languages or [],
        data_hash=content_hash(splits, labels.names, labels.targets),
        skipped=[row for table in loaded.values() for row in table.skipped],
        swallowing=[row for table in loaded.values() for row in table.swallowing],
        targets=labels.targets,
    )


def _by_split(chosen: list[Selected], data: Data) -> dict[str, pa.Table]:
    parts: dict[str, list[pa.Table]] = {}
    meaning = {name: split for split in ORDER for name in getattr(data.split_names, split)}
    for rows in chosen:
        if rows.splits is None:
            parts.setdefault("all", []).append(rows.table)
            continue
        for said in rows.split_counts():
            parts.setdefault(meaning.get(said, said or "(none)"), []).append(rows.of_split([said]))
    order = sorted(parts, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return {name: pa.concat_tables(parts[name]) for name in order}


def examine(
    texts: TextData,
    data: Data,
    *,
    tokenizer: Any = None,
    similarity: float = 0.8,
    progress: Progress | None = None,
) -> Diagnosis:
    """Looks at everything.

    Args:
        texts: from `read_all` or `glotune.data.reading.read_texts`.
        data: the recipe's section; max_length and normalization count.
        tokenizer: a fast tokenizer, for fertility, unknown tokens and truncation; None: they are left out.
        similarity: from which share of common 5-grams on two texts are near duplicates.
        progress: called with what is looked at next.
    """
    told = progress or (lambda stage: None)
    told("rows")
    rows = Rows.of(texts.splits, _words(texts))
    found = [*_skipped(texts.skipped), *_swallowed(texts.swallowing)]
    splits = {name: split_profile(split, texts.labels, texts.targets) for name, split in texts.splits.items()}
    if texts.targets is None:
        found += findings.label_balance(rows)
        found += findings.odd_label_names(rows) if data.labels is None else []
    else:
        found += _absent_labels(splits)
    told("duplicates")
    found += findings.exact_duplicates(rows)
    found += findings.conflicting_labels(rows)
    told("writing")
    found += findings.writing(rows)
    told("near duplicates")
    found += findings.near_duplicates(rows, similarity)
    notes = _unknown_language(splits)
    if tokenizer is None:
        notes.append("fertility, unknown tokens and truncation are not measured: no tokenizer (--tokenizer NAME)")
    else:
        told("tokens")
        for name, split in texts.splits.items():
            for language, entry in tokens_of(split, tokenizer, data).items():
                splits[name][language] |= entry
        found += _truncation(splits, Reach.of(data, tokenizer.num_special_tokens_to_add(pair=False)).tokens)
    grave = {"problem": 0, "warning": 1, "note": 2}
    found.sort(key=lambda finding: grave[finding.severity])
    return Diagnosis(texts.sources, texts.labels, splits, shared_texts(texts), found, notes)


def _words(texts: TextData) -> list[str]:
    """What the numbers in the column of labels stand for, in words."""
    if texts.targets is None:
        return texts.labels
    return [words_of(texts.targets, texts.labels, number) for number in range(len(texts.targets))]


def _absent_labels(splits: dict[str, dict[str, dict[str, Any]]]) -> list[Finding]:
    """Labels that are annotated in a split of a language and apply to none of its texts."""
    absent = {
        f"{split}/{language}: {label}": 1
        for split, languages in splits.items()
        for language, entry in languages.items()
        for label, number in entry["label_counts"].items()
        if not number
    }
    message = f"{len(absent)} labels apply to no row in a split of a language"
    return [Finding("absent labels", "warning", message, absent)] if absent else []


def _skipped(skipped: list[SkippedRow]) -> list[Finding]:
    found = []
    for reason in sorted({row.reason for row in skipped}):
        counts = Counter(row.path for row in skipped if row.reason == reason)
        rows = ", ".join(str(row.row) for row in skipped if row.reason == reason)
        shown = rows if len(rows) <= 60 else rows[:60].rpartition(",")[0] + ", …"
        message = findings.counted(counts.total(), f"{{n}} rows can't be used: {reason} (row {shown})")
        found.append(Finding("unusable rows", "warning", message, dict(counts)))
    return found


def _swallowed(rows: list[SwallowingRow]) -> list[Finding]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.path] += row.lines
    return [Finding("swallowed rows", "problem", message, dict(counts)) for message in about_swallowed(rows)]


def _unknown_language(splits: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """What 'und' stands for, where rows stand under it, and how to say the language."""
    rows = sum(languages[UNDETERMINED]["rows"] for languages in splits.values() if UNDETERMINED in languages)
    if not rows:
        return []
    return [
        f"no file, column or key says the language of {rows:,} rows, which stand under '{UNDETERMINED}' "
        "(undetermined): add data.source_languages=[bn], a column 'language', or name the file by it (bn.csv)"
    ]


def tokens_of(split: LabelledTexts, tokenizer: Any, data: Data) -> dict[str, dict[str, Any]]:
    """Per language, without a store: ``fertility``, ``unknown_token_rate``, ``truncated_rows``, ``truncation_rate``."""
    backend = fast_backend(tokenizer)
    reach = Reach.of(data, tokenizer.num_special_tokens_to_add(pair=split.has_pairs))
    lengths, unknown = [], []
    with untruncated(backend), normalising(backend, data.normalization):
        for chunk in split.chunks(CHUNK):
            encodings = backend.encode_batch_fast(inputs_of(chunk))
            lengths += [len(encoding) for encoding in encodings]
            unknown += [encoding.ids.count(tokenizer.unk_token_id) for encoding in encodings]
    return _per_language(split, np.array(lengths), np.array(unknown), reach)


def _per_language(
    split: LabelledTexts, lengths: np.ndarray, unknown: np.ndarray, reach: Reach
) -> dict[str, dict[str, Any]]:
    words, found = word_counts(split), {}
    for index, language in enumerate(split.language_names):
        mine = split.language_ids == index
        total = int(words[mine].sum())
        content = int(lengths[mine].sum()) - reach.special * int(mine.sum())
        found[language] = {
            "mean_tokens": float(lengths[mine].mean()),
            "fertility": content / total if total else None,
            "unknown_token_rate": float(unknown[mine].sum() / max(content, 1)),
            "truncated_rows": int((lengths[mine] > reach.tokens).sum()),
            "truncation_rate": float((lengths[mine] > reach.tokens).mean()),
        }
    return found


def _truncation(splits: dict[str, dict[str, dict[str, Any]]], limit: int) -> list[Finding]:
    counts = {
        f"{split}/{language}": entry["truncated_rows"]
        for split, languages in splits.items()
        for language, entry in languages.items()
        if entry["truncation_rate"] > 0.05
    }
    if not counts:
        return []
    message = f"over 5 % of the rows are longer than {limit} tokens, counted by split and language"
    return [Finding("truncation", "warning", message, counts)]


def render(diagnosis: Diagnosis, title: str) -> str:
    """The page as HTML; whatever the texts hold is shown as text."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["named"] = named
    environment.filters["number"] = count
    source = resources.files("glotune.data").joinpath("doctor_page.html.j2").read_text(encoding="utf-8")
    style = resources.files("glotune.data").joinpath("page_style.css").read_text(encoding="utf-8")
    return environment.from_string(source).render(diagnosis=diagnosis, title=title, style=Markup(style))


def write_page(diagnosis: Diagnosis, title: str, path: Path) -> None:
    """Writes the page, whole or not at all; raises UserError where it can't be written."""
    write_output(path, render(diagnosis, title))
