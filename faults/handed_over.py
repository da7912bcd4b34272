"""What users hand over, generated: names, scalars, encodings, labels, output targets, models of other origin.

Each attempt knows the right result: what is accepted must be just that, whatever can't be is one UserError, and no file
is destroyed on the way.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from faults.fuzz import Attempt
from glotune.data.reading import read_texts
from glotune.data.sources import find_sources
from glotune.data.texts import LabelledTexts, TextData
from glotune.errors import EXIT_USER_ERROR, GlotuneError, UserError
from glotune.recipe import Recipe, load_recipe, recipe_yaml
from glotune.recipe.schema import Data


def users_mistakes(attempt: Attempt) -> Attempt:
    """The attempt, whose refusals must be the user's mistakes: exit code 2."""

    def strictly(generator: Random, folder: Path) -> object:
        try:
            with contextlib.chdir(folder):
                return attempt(generator, folder)
        except GlotuneError as error:
            if error.exit_code != EXIT_USER_ERROR:
                raise AssertionError(f"exit code {error.exit_code}: {str(error)[:100]}") from error
            raise

    return strictly


@contextlib.contextmanager
def accepted(told: str, *, surely: bool) -> Iterator[None]:
    """Where `surely`, a refusal is no right answer either."""
    try:
        yield
    except GlotuneError as error:
        if surely:
            raise AssertionError(f"{told}: refused ({str(error)[:100]})") from error
        raise


def expect(right: bool, told: str) -> None:
    """Raises AssertionError with `told` where it isn't right."""
    if not right:
        raise AssertionError(told)


# ---- names of files -----------------------------------------------------------------------------------------

NAME_PARTS = (
    " ", " #", "#", ": ", ":", "@", "[", "]", "{", "}", ",", ", ", "é", "e\u0301", "বাংলা", "😀", "~", "$HOME", "$", "-",
    "- ", "!", "! ", "&", "*", "%", "|", ">", "`", "'", '"', "\\", "\n", "\t", "=", "?", "null", "true", "1.10", "00",
    "\u200b", "\udce9", "..", "a", "b", "en", "data",
)  # fmt: skip
ROWS = "text,label\na good one,x\na bad one,y\n"


def file_names() -> Attempt:
    """Existing files of any name in KEY=VALUE, alone, in lists and in maps: taken literally, also by a saved recipe."""

    def attempt(generator: Random, folder: Path) -> object:
        name = f"{''.join(generator.choices(NAME_PARTS, k=generator.randint(1, 5)))}.csv"
        Path(name).write_text(ROWS, encoding="utf-8")
        Path("plain.csv").write_text(ROWS, encoding="utf-8")
        forms: dict[str, Any] = {name: name}
        if name == name.strip():
            forms |= {f"[{name}, plain.csv]": [name, "plain.csv"], f"{{bn: {name}}}": {"bn": name}}
        text, meant = generator.choice(list(forms.items()))
        key = generator.choice(["data.train", "data.validation", "data.test"])
        base = Recipe.model_validate({"name": "x", "model": {"name": "x"}, "data": {"train": "plain.csv"}})
        recipe = load_recipe(base, [f"{key}={text}"])
        Path("saved.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
        for each in (recipe, load_recipe("saved.yaml")):
            found = find_sources(getattr(each.data, key.removeprefix("data.")), key)
            wanted = [meant] if isinstance(meant, str) else list(meant.values() if isinstance(meant, dict) else meant)
            expect(
                len(found) == len(wanted)
                and all(source.path.samefile(path) for source, path in zip(found, wanted, strict=True)),
                f"{text!r} was read as {[source.name for source in found]}",
            )
        return recipe

    return users_mistakes(attempt)


# ---- scalars of a recipe ------------------------------------------------------------------------------------

DIGITS = (
    "0",
    "00",
    "1",
    "7",
    "10",
    "010",
    "1_000",
    "12:30",
    "0x1F",
    "0o17",
    "1.10",
    "1.",
    ".5",
    "1e3",
    "12e4567",
    "2e-5",
)
WORDS = (
    "true",
    "True",
    "TRUE",
    "false",
    "yes",
    "no",
    "on",
    "off",
    "null",
    "Null",
    "NULL",
    "nan",
    "inf",
    ".inf",
    "a",
    "<<",
)


def recipe_scalars() -> Attempt:
    """Scalars that look like numbers, truth values or null: where a string is wanted, their characters count."""

    def attempt(generator: Random, folder: Path) -> object:
        scalar = generator.choice([*DIGITS, *WORDS])
        if scalar in DIGITS:
            scalar = generator.choice(["", "", "-", "+"]) + scalar
        places: dict[str, tuple[str, Callable[[Recipe], Any], Any]] = {
            "data.labels": (f"[{scalar}, other]", lambda recipe: recipe.data.labels, [scalar, "other"]),
            "data.labels ": (
                f"{{{scalar}: {scalar}, b: c}}", lambda recipe: recipe.data.labels, {scalar: scalar, "b": "c"},
            ),
            "data.columns.text": (scalar, lambda recipe: recipe.data.columns.text, scalar),
            "data.columns.label": (scalar, lambda recipe: recipe.data.columns.label, scalar),
            "data.split_names.test": (f"[{scalar}]", lambda recipe: recipe.data.split_names.test, [scalar]),
            "loss.class_weights": (
                f"{{{scalar}: 2, b: 1}}", lambda recipe: recipe.loss.class_weights, {scalar: 2.0, "b": 1.0},
            ),
            f"loss.class_weights.{scalar}": ("2", lambda recipe: recipe.loss.class_weights, {scalar: 2.0}),
            "model.revision": (
                scalar, lambda recipe: recipe.model.revision, None if scalar.lower() == "null" else scalar,
            ),
        }  # fmt: skip
        key, (text, read, meant) = generator.choice(list(places.items()))
        base = {"name": "x", "model": {"name": "x"}, "data": {"train": "x.csv"}}
        if generator.random() < 0.5 or "weights." in key:
            recipe = load_recipe(Recipe.model_validate(base), [f"{key}={text}"])
        else:
            lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(key.strip().split("."))]
            Path("base.yaml").write_text(json.dumps(base), encoding="utf-8")
            Path("given.yaml").write_text("\n".join(["extends: base.yaml", *lines]) + f" {text}\n", encoding="utf-8")
            recipe = load_recipe("given.yaml")
        Path("saved.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
        for each in (recipe, load_recipe("saved.yaml")):
            expect(read(each) == meant, f"{key}={text} was read as {read(each)!r}")
        return recipe

    return users_mistakes(attempt)


# ---- encodings ----------------------------------------------------------------------------------------------

SENTENCES = ("ভালো ছিল", "très bon", "schön war's", "хорошо", "好极了", "good", "€ 5, ok", "naïve “quoted”")
UTF_8 = ("utf-8", "utf-8-sig")
ENCODINGS = (*UTF_8, "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "gb18030", "mixed")


def encodings() -> Attempt:
    """Data files and recipes in many encodings, plain and zipped: read as what they say, or refused."""

    def attempt(generator: Random, folder: Path) -> object:
        encoding = generator.choice(ENCODINGS)
        narrow = {"mixed": "latin-1"}.get(encoding, encoding)
        texts = generator.choices([text for text in SENTENCES if _can_say(text, narrow)], k=6)
        if generator.random() < 0.2:
            return _recipe_in(encoding, texts[0])
        suffix = generator.choice([".csv", ".tsv", ".jsonl", ".csv.gz"])
        if suffix == ".jsonl":
            lines = [
                json.dumps({"text": text, "label": "xy"[row % 2]}, ensure_ascii=False) for row, text in enumerate(texts)
            ]
        else:
            mark = "\t" if suffix == ".tsv" else ","
            quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
            lines = [f"text{mark}label", *(f"{text}{mark}{'xy'[row % 2]}" for row, text in enumerate(quoted))]
        content = _encoded(lines, encoding)
        path = Path(f"en{suffix}")
        path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
        with accepted(encoding, surely=encoding in UTF_8):
            found = _read(str(path)).splits["train"]
        expect(sorted(_texts(found)) == sorted(texts), f"{encoding}: read as {_texts(found)[:2]}")
        return found

    return users_mistakes(attempt)


def _encoded(lines: list[str], encoding: str) -> bytes:
    if encoding != "mixed":
        return "\n".join([*lines, ""]).encode(encoding)
    kinds = ("utf-8", "latin-1")
    return b"".join(f"{line}\n".encode(kinds[place % 2]) for place, line in enumerate(lines))


def _can_say(text: str, encoding: str) -> bool:
    try:
        return text.encode(encoding).decode(encoding) == text
    except UnicodeEncodeError:
        return False


def _recipe_in(encoding: str, description: str) -> object:
    lines = [
        "name: x",
        f"description: {json.dumps(description, ensure_ascii=False)}",
        "model: {name: x}",
        "data: {train: x}",
    ]
    Path("r.yaml").write_bytes(_encoded(lines, encoding))
    with accepted(encoding, surely=encoding in UTF_8):
        recipe = load_recipe("r.yaml")
    expect(recipe.description == description, f"{encoding}: read as {recipe.description!r}")
    return recipe


def _read(path: str) -> TextData:
    """The file as training texts and, so that no row is cut off, as validation texts too."""
    return read_texts(Data.model_validate({"train": {"en": path}, "validation": {"en": path}}), 0)


def _texts(found: LabelledTexts) -> list[str]:
    return [text for chunk in found.chunks(1000) for text in chunk.column("text").to_pylist()]


# ---- types of labels ----------------------------------------------------------------------------------------

MISSING = (None, float("nan"))
LABELS: dict[str, tuple[tuple[Any, ...], bool]] = {
    "integers": ((0, 1, 2), False),
    "whole floats": ((1.0, 2.0), False),
    "ratings": ((1.0, 1.5, 2.5, 3.0, 4.5), True),
    "truth values": ((True, False), False),
    "strings": (("x", "y"), False),
    "joined": (("joy", "anger", "joy|anger"), True),
    "one spelling": (("café", "cafe\u0301", "x"), False),
    "letter case": (("Good", "good", "bad"), True),
    "bytes": ((b"x", b"y"), False),
    "lists": ((["x"], ["x", "y"]), False),
    "decimals": ((Decimal("1.5"), Decimal("2.5")), True),
    "unique": ((), True),
}
"""Kind -> its values, and whether they must be warned of (they are hardly classes)."""
SURELY_CLASSES = ("integers", "whole floats", "truth values", "strings", "one spelling")


def label_types(encoder: Path) -> Attempt:
    """Labels of every type, some of them missing: the classes are the values that are there, odd ones are warned of."""

    def attempt(generator: Random, folder: Path) -> object:
        kind = generator.choice(list(LABELS))
        values, is_odd = LABELS[kind]
        labels: list[Any] = [values[row % len(values)] if values else f"id {row}" for row in range(30)]
        missing = generator.choice([0, 0, 3])
        for row in generator.sample(range(30), missing):
            labels[row] = generator.choice(MISSING)
        if missing and generator.random() < 0.3:
            return _fitted(generator, encoder, labels)
        suffix = generator.choice([".jsonl", ".parquet"])
        path = _table(labels, suffix)
        with accepted(kind, surely=kind in SURELY_CLASSES):
            texts = _read(path)
        rows = len(texts.splits["train"])
        told = f"{kind}: {rows} rows, {len(texts.skipped)} skipped"
        expect((rows, len(texts.skipped)) == (30 - missing, missing), told)
        distinct = {"one spelling": 2, "unique": 30 - missing}.get(kind, len(values))
        expect(len(texts.labels) == distinct, f"{kind}: the classes are {texts.labels[:8]}")
        expect(not is_odd or any("label" in each for each in texts.warnings), f"{kind} are not warned of")
        return texts

    return users_mistakes(attempt)


def _table(labels: list[Any], suffix: str) -> str:
    texts = [f"text number {row}" for row in range(len(labels))]
    path = Path(f"en{suffix}")
    if suffix == ".jsonl":
        plain = [float(each) if isinstance(each, Decimal) else each for each in labels]
        plain = [each.decode() if isinstance(each, bytes) else each for each in plain]
        lines = [json.dumps({"text": text, "label": label}) for text, label in zip(texts, plain, strict=True)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    else:
        is_number = all(isinstance(each, float) or each is None for each in labels)
        cells = labels if is_number else [None if each != each else each for each in labels]
        parquet.write_table(pa.table({"text": texts, "label": pa.array(cells)}), path)
    return str(path)


def _fitted(generator: Random, encoder: Path, labels: list[Any]) -> object:
    """A classifier can't be fitted where labels are missing."""
    from glotune import Classifier

    given = np.empty(len(labels), object)
    given[:] = labels
    texts = [f"good {row}" for row in range(len(labels))]
    Classifier(str(encoder), train__epochs=1).fit(texts, generator.choice([labels, given]))
    raise AssertionError(f"fitted where labels are missing, among them {labels[:3]}")


# ---- targets of output --------------------------------------------------------------------------------------

OLD = "old content\n"
TARGETS = (
    "new", "existing", "link", "dangling link", "link to a link", "fifo", "device", "read-only folder", "no folder",
    "folder", "long name", "file for a folder",
)  # fmt: skip
WRITTEN = ("new", "existing", "link", "dangling link", "link to a link", "fifo", "device")


def output_targets(run: Path) -> Attempt:
    """Where output is to go: written there, whatever stands there stays what it is; or refused, and nothing changes."""

    def attempt(generator: Random, folder: Path) -> object:
        Path("texts.txt").write_text("good room\nbad food\n", encoding="utf-8")
        Path("en.csv").write_text(
            "text,label\n" + "".join(f"t {n},{'xy'[n % 2]}\n" for n in range(8)), encoding="utf-8"
        )
        kind = generator.choice(TARGETS)
        target, real, drain = _target(kind)
        if target is None:
            return None  # no such thing may be made on this machine
        command = generator.choice(
            [["predict", str(run), "texts.txt", "--device", "cpu", "--out"], ["data", "check", "en.csv", "--json"]]
        )
        before, kind_before = _state(Path()), _mode(target)
        code, told = called([*command, str(target)])
        if kind not in WRITTEN:
            _check_refused(kind, code, told, before)
            raise UserError(told)  # booked as what it is
        expect(code in (0, 3), f"{kind}: exit code {code}: {told.strip()[:120]}")
        expect(kind_before is None or kind_before == _mode(target), f"the {kind} became something else")
        content = drain() if drain else None if real is None else real.read_text(encoding="utf-8")
        if content is not None:
            lines = content.splitlines()
            whole = len(lines) == 2 if command[0] == "predict" else True
            expect(whole and bool(json.loads(lines[0] if command[0] == "predict" else content)), f"{kind}: {content!r}")
        left = [path.name for path in Path().iterdir() if path.name.startswith(".")]
        expect(not left, f"{kind}: {left} left behind")
        return content

    return users_mistakes(attempt)


def called(arguments: list[str]) -> tuple[int, str]:
    """Exit code and stderr of a command, carried out in this process."""
    from glotune.cli.main import run

    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
            run(arguments)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None), told.getvalue()
    return 0, told.getvalue()


def _target(kind: str) -> tuple[Path | None, Path | None, Callable[[], str] | None]:
    """The target, the file where the content is to be found, and for a pipe what reads it."""
    target, real = Path("out.json"), Path("real.json")
    if kind in ("link", "link to a link", "existing"):
        (target if kind == "existing" else real).write_text(OLD, encoding="utf-8")
    if kind in ("link", "dangling link"):
        target.symlink_to(real)
    elif kind == "link to a link":
        Path("between").symlink_to(real)
        target.symlink_to("between")
    elif kind == "fifo":
        os.mkfifo(target)
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK)  # open already, so that no writer waits
        return target, None, lambda: _drained(descriptor)
    elif kind == "device":
        try:
            os.mknod(target, stat.S_IFCHR | 0o666, os.makedev(1, 3))  # a null device of its own
            target.write_bytes(b"")
        except OSError:
            return None, None, None
        return target, None, None
    elif kind in ("read-only folder", "no folder", "file for a folder"):
        place = Path("place")
        if kind == "read-only folder":
            if os.geteuid() == 0:
                return None, None, None  # root may write anywhere
            place.mkdir(mode=0o555)
        elif kind == "file for a folder":
            place.write_text(OLD, encoding="utf-8")
        return place / target, None, None
    elif kind == "folder":
        target.mkdir()
    elif kind == "long name":
        return Path("x" * 300), None, None
    return target, target if kind in ("new", "existing") else real, None


def _drained(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as pipe:
        return (pipe.read() or b"").decode()


def _check_refused(kind: str, code: int, told: str, before: dict[str, Any]) -> None:
    expect(code == EXIT_USER_ERROR, f"{kind}: exit code {code}: {told.strip()[:120]}")
    expect("Traceback" not in told and told.count("Error: ") == 1, f"{kind}: {told[-150:]!r}")
    expect(_state(Path()) == before, f"{kind}: files changed")


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return None


def _state(folder: Path) -> dict[str, Any]:
    """Every name below a folder, with the content of what is a file."""
    return {
        str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else _mode(path)
        for path in folder.rglob("*")
    }


# ---- models of other origin ---------------------------------------------------------------------------------


def foreign_models(model: Path) -> Attempt:
    """Saved classifiers of another origin, whole or harmed: answered as transformers does, or refused."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers.utils import logging

    logging.set_verbosity_error()
    weights = load_file(model / "model.safetensors")
    head = [name for name in weights if name.startswith("classifier")]

    def attempt(generator: Random, folder: Path) -> object:
        import glotune

        place = folder / "foreign"
        shutil.copytree(model, place)
        config = json.loads((place / "config.json").read_text(encoding="utf-8"))
        changed = dict(weights)
        harm = "none" if generator.random() < 0.25 else generator.choice(list(HARMS))
        torch.manual_seed(generator.getrandbits(31))
        HARMS[harm](generator, place, config, changed, head)
        if (place / "config.json").exists() and harm != "broken config":
            (place / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if changed.keys() != weights.keys() or any(changed[name] is not weights[name] for name in changed):
            save_file(
                {name: value.clone() for name, value in changed.items()}, place / "model.safetensors", {"format": "pt"}
            )
        texts = ["good room", "bad", "food"]
        found = glotune.load(place, device="cpu").predict(texts)
        wanted = _by_transformers(place, texts)
        for got, (label, scores) in zip(found, wanted, strict=True):
            right = got.label == label and got.probabilities.keys() == scores.keys()
            close = right and all(abs(got.probabilities[name] - scores[name]) < 1e-4 for name in scores)
            expect(close, f"{harm}: answers {got.probabilities}, transformers {scores}")
        return found

    return users_mistakes(attempt)


Harm = Callable[[Random, Path, dict[str, Any], dict[str, Any], list[str]], object]


def _renamed(generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]) -> None:
    number = generator.choice([1, 2, 3, 5])
    config.pop("label2id", None)
    if generator.random() < 0.5:
        config.pop("id2label", None)
        config["num_labels"] = number
    else:
        config["id2label"] = {str(index): f"class {index}" for index in range(number)}


def _resized(generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]) -> None:
    """A head of another size, said rightly; at times of another kind."""
    import torch

    number = generator.choice([1, 2, 4])
    last = [name for name in head if "out_proj" in name]
    for name in last:
        weights[name] = torch.randn(number, *weights[name].shape[1:])
    config["id2label"] = {str(index): f"c{index}" for index in range(number)}
    config["label2id"] = {f"c{index}": index for index in range(number)}
    if generator.random() < 0.5:
        config["problem_type"] = generator.choice(
            ["multi_label_classification", "regression", "single_label_classification"]
        )


def _broken(generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]) -> None:
    path = place / "config.json"
    content = generator.choice(["", "{", "[]", "null", "{}", '{"model_type": "nothing"}', "\udcff", "[1, 2]", '"text"'])
    path.write_bytes(content.encode("utf-8", "surrogateescape"))


def _config_of(
    generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]
) -> None:
    key, value = generator.choice(
        [
            ("architectures", ["XLMRobertaModel"]), ("architectures", ["XLMRobertaForMaskedLM"]),
            ("architectures", None), ("hidden_size", 48), ("num_hidden_layers", 7), ("vocab_size", 5),
            ("model_type", "bert"), ("model_type", 5),
            ("problem_type", "regression"), ("problem_type", "multi_label_classification"), ("id2label", {}),
            ("id2label", {"a": "b"}), ("id2label", []), ("id2label", {"0": "same", "1": "same", "2": "same"}),
        ]
    )  # fmt: skip
    config[key] = value


def _missing_file(
    generator: Random, place: Path, config: dict[str, Any], weights: dict[str, Any], head: list[str]
) -> None:
    files = sorted(path for path in place.iterdir() if path.is_file() and path.name != "model.safetensors")
    generator.choice(files).unlink()


HARMS: dict[str, Harm] = {
    "none": lambda generator, place, config, weights, head: None,
    "no head": lambda generator, place, config, weights, head: [weights.pop(name) for name in head],
    "half a head": lambda generator, place, config, weights, head: weights.pop(generator.choice(head)),
    "other number of labels": _renamed,
    "other head": _resized,
    "other config": _config_of,
    "broken config": _broken,
    "missing file": _missing_file,
    "missing layer": lambda generator, place, config, weights, head: weights.pop(generator.choice(sorted(weights))),
}


def _by_transformers(place: Path, texts: list[str]) -> list[tuple[str, dict[str, float]]]:
    """Label and scores of each text; AssertionError where transformers finds weights that aren't there."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(place, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except Exception as error:
        raise AssertionError(f"answered by a folder that transformers can't open ({str(error)[:80]})") from error
    lacking = sorted({*info["missing_keys"], *(str(each[0]) for each in info["mismatched_keys"])})
    expect(not lacking, f"answered without {', '.join(lacking[:3])}")
    model.eval()
    answers = []
    for text in texts:
        with torch.no_grad():
            logits_C = model(**tokenizer(text, return_tensors="pt")).logits[0]
        kind = model.config.problem_type
        if kind == "regression":
            scores_C = logits_C
        else:
            single = kind != "multi_label_classification" and model.config.num_labels > 1
            scores_C = logits_C.softmax(-1) if single else logits_C.sigmoid()
        names = [model.config.id2label[index] for index in range(len(scores_C))]
        scores = dict(zip(names, scores_C.tolist(), strict=True))
        answers.append((max(scores, key=lambda name: scores[name]), scores))
    return answers


KINDS = ("file names", "recipe scalars", "encodings", "label types", "output targets", "foreign models")


def attempts(run: Path, model: Path, encoder: Path) -> dict[str, Attempt]:
    """Kind -> what tries it."""
    made = (
        file_names(),
        recipe_scalars(),
        encodings(),
        label_types(encoder),
        output_targets(run),
        foreign_models(model),
    )
    return dict(zip(KINDS, made, strict=True))
