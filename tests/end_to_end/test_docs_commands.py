"""Every command of the README and the documentation is run, page by page, on tiny files under the names it uses.

A block that can't run here carries a comment ``<!-- not run: REASON -->`` above its fence. It is still parsed: command,
options and recipe keys must exist. The tour has a test of its own.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from doc_blocks import PROJECT, Block, blocks_of, glotune_words, refuse_unknown_flags, simple_commands
from doc_stand_ins import expected_extras, make_stand_ins, small_quickstart

DOCS = PROJECT / "docs"
RUN_ELSEWHERE = {"docs/tour.md": "tests/end_to_end/test_tour.py"}
"""Pages whose commands another test runs; here they are parsed."""
TRAINING_PAGES = ("README.md", "docs/index.md", "docs/start.md", "docs/guides/")
"""Pages with minutes of training in them."""
PAGES = [PROJECT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "examples" not in path.parts)]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
SHELL = [block for block in BLOCKS if block.language in ("sh", "bash", "console")]
PLACEHOLDER = re.compile(r"(?:^|[=/.:-])[A-Z]{3,}(?:[/.:-]|$)|…")
"""RECIPE, DATA/file.csv, USER/NAME: a reader puts something else there, so the command is parsed and not run."""
OURS = ("benchmarks", "faults", "documentation")
HARMLESS = ("cat", "head", "ls", "cd", "git", ".venv/bin/pre-commit")


def name_of(block: Block) -> str:
    return f"{block.page}:{block.line}"


# -- what every block must be, run or not --------------------------------------------------------------------------


@pytest.mark.parametrize("block", SHELL, ids=name_of)
def test_every_command_exists_with_its_options_and_keys(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipes(block.page, tmp_path)
    monkeypatch.chdir(tmp_path)
    for line in block.commands:
        for words in simple_commands(line):
            check(words, block, monkeypatch)


def check(words: list[str], block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    own = glotune_words(words)
    if own is not None:
        check_keys(own[0], refuse_unknown_flags(own))
    elif words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"{words}: no such target"
    elif words[:2] == ["python", "-m"] and words[2] in OURS:
        refuse_unknown_arguments(words[2], words[3:], monkeypatch)
    elif words[:2] == ["pip", "install"]:
        named = re.findall(r"\[([\w,-]+)\]", " ".join(words))
        assert {name for group in named for name in group.split(",")} <= expected_extras(PROJECT / "pyproject.toml")
    else:
        assert words[0] in HARMLESS or block.not_run, f"{name_of(block)}: nobody checks '{words[0]}'"


def check_keys(command: str, given: dict[str, Any]) -> None:
    """The recipe and its overrides validate, unless the recipe is a placeholder or a run."""
    from glotune.recipe import load_recipe
    from glotune.recipe.auto import AUTO, Draft
    from glotune.recipe.pretrain import load_pretrain_recipe
    from glotune.recipe.study_loading import load_study, resolve_study

    overrides = [each for each in given.get("overrides") or () if "…" not in each]
    source = next((given[name] for name in ("recipe", "study") if given.get(name)), None)
    if source is None or PLACEHOLDER.search(source) or Path(source).parts[0] == "runs":
        return
    if command == "pretrain":
        load_pretrain_recipe(source, overrides)
    elif command == "study":
        if source not in ("list", "show", "schema") and not source.startswith("my-"):
            resolve_study(load_study(source), given["scale"], [*with_data(given, overrides)])
    elif command == "train" and source == AUTO:
        Draft.of(overrides).recipe()
    elif command in ("train", "launch"):
        load_recipe(source, overrides if source.endswith(".yaml") else with_data(given, overrides))


def with_data(given: dict[str, Any], overrides: list[str]) -> list[str]:
    """The overrides, and some training data where a page leaves them out."""
    named = any(each.startswith("data.train") for each in overrides)
    tiny = given.get("scale") not in (None, "full")
    return overrides if named or tiny or given.get("recipe") == "quickstart" else ["data.train=en.csv", *overrides]


def refuse_unknown_arguments(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the program parse its arguments and goes no further."""

    class Parsed(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def parse_and_leave(parser: argparse.ArgumentParser, *given: Any) -> None:
        parse(parser, *given)
        raise Parsed

    with monkeypatch.context() as patched:
        patched.setattr(argparse.ArgumentParser, "parse_args", parse_and_leave)
        patched.setattr(sys, "argv", [module, *(each for each in arguments if each != "…")])
        patched.syspath_prepend(str(PROJECT))
        if arguments:
            with pytest.raises(Parsed):
                import_module(f"{module}.__main__").main()


def write_recipes(page: str, folder: Path) -> list[Path]:
    """The page's YAML blocks, each under its own name."""
    written = []
    for block in BLOCKS:
        named = re.match(r"^name: (\S+)$", block.text, re.MULTILINE)
        if block.page == page and block.language == "yaml" and named:
            written.append(folder / f"{named[1]}.yaml")
            written[-1].write_text(block.text, encoding="utf-8")
    return written


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.language == "yaml"}))
def test_every_recipe_on_a_page_is_valid(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from glotune.recipe import load_recipe
    from glotune.recipe.pretrain import load_pretrain_recipe
    from glotune.recipe.study_loading import load_study, resolve_study

    monkeypatch.chdir(tmp_path)
    written = write_recipes(page, tmp_path)
    assert written, "a YAML block begins with its name"
    for path in written:
        if re.search(r"^(?:variants|search):", path.read_text(encoding="utf-8"), re.MULTILINE):
            study = load_study(path)
            resolve_study(study, "full", [] if "data" in study.keys else ["data.train=en.csv"])
        elif re.search(r"^teacher:", path.read_text(encoding="utf-8"), re.MULTILINE):
            load_pretrain_recipe(path)
        else:
            load_recipe(path)


# -- what runs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand-ins")
    make_stand_ins(folder)
    return folder


@pytest.fixture
def sandbox(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own with all stand-ins; the quickstart is a small part of itself, and no report is drawn."""
    from glotune.recipe import loading

    shutil.copytree(place, tmp_path / "here", symlinks=True)
    known = {**loading.builtin_recipes()}
    known["quickstart"] = small_quickstart(tmp_path, known["quickstart"])
    monkeypatch.setattr(loading, "builtin_recipes", lambda folder=None: known if folder is None else real(folder))
    monkeypatch.setattr("glotune.verbs.train.draw_report", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def real(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


RUN = sorted({block.page for block in BLOCKS if block.language in ("sh", "python") and not block.not_run})


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.extras] if page.startswith(TRAINING_PAGES) else [])
        for page in RUN
        if page not in RUN_ELSEWHERE
    ],
)
def test_every_command_of_a_page_runs(page: str, sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_recipes(page, sandbox)
    names: dict[str, Any] = {
        "texts": ["good food", "rude staff", "lovely room", "dirty room"] * 10,
        "labels": ["good", "bad", "good", "bad"] * 10,
        "new_texts": ["lovely food"],
    }
    printed: dict[str, str] = {}
    for block in [each for each in BLOCKS if each.page == page]:
        if block.printed_by:
            shows(block, printed)
        elif block.language == "python" and not block.not_run:
            exec(compile(block.text, name_of(block), "exec"), names)
            out = capsys.readouterr().out
            for line in re.findall(r"^# ([\[{].*)$", block.text, re.MULTILINE):  # what the block says it prints
                assert line in out, f"{name_of(block)} prints {out!r}"
        elif block.language == "sh" and not block.not_run:
            for line in block.commands:
                for words in simple_commands(line):
                    run(words, block, printed, capsys)


def run(words: list[str], block: Block, printed: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """One command of glotune, in this process; other programs and placeholders are only parsed."""
    from glotune.cli.main import run as glotune

    if words[0] != "glotune" or any(PLACEHOLDER.search(word) for word in words):
        return
    code: Any = 0
    try:
        glotune(words[1:])
    except SystemExit as left:
        code = left.code
    out = capsys.readouterr()
    printed[" ".join(words)] = out.out + out.err
    assert code in (0, None), f"{name_of(block)}: {' '.join(words)}: exit code {code}\n{out.err[-2000:]}"


def shows(block: Block, printed: dict[str, str]) -> None:
    """What a page shows begins, line by line, as what was printed; figures and findings may differ."""
    command = block.printed_by or ""
    there = [text for name, text in printed.items() if name.startswith(command)]
    assert there, f"{name_of(block)}: '{command}' is not among the page's commands"
    real_starts = {start_of(line) for text in there for line in text.splitlines()}
    for line in block.text.splitlines():
        if not line.lstrip().startswith(("-", "To do")):
            assert start_of(line) in real_starts, f"{name_of(block)}: nothing printed begins as: {line}"


def start_of(line: str) -> str:
    """The first word, numbers masked."""
    return re.sub(r"\d[\d,.]*", "#", " ".join(line.split()[:1]))


def test_the_printed_quickstart_is_the_example_that_lies_beside_it() -> None:
    """Its scores move with the embedded encoder: what is printed in the first page must move too."""
    page = (PROJECT / "docs" / "start.md").read_text(encoding="utf-8")
    example = (PROJECT / "docs" / "examples" / "quickstart" / "report" / "report.md").read_text(encoding="utf-8")
    printed = re.search(r"^mean \(16 targets\) +2880 +\S+ +\[.*?\] +(0\.\d+)", page, re.MULTILINE)
    told = re.search(r"Macro-F1 (\d+\.\d) \[.*?\] on average over 16 target languages", example)
    assert printed, "docs/start.md shows no mean over the 16 targets"
    assert told, "the example's report has no headline"
    assert abs(100 * float(printed[1]) - float(told[1])) < 1


def test_pages_run_elsewhere_have_their_test() -> None:
    for page, test in RUN_ELSEWHERE.items():
        if (PROJECT / page).exists():
            assert Path(page).name in (PROJECT / test).read_text(encoding="utf-8"), f"{test} runs {page}"


def test_the_checks_would_see_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = Block("page.md", 1, "sh", "")
    for wrong in (
        "glotune trian x",
        "glotune train xlmr-6-layers --epochs 3",
        "make docks",
        "pip install .[nothing]",
        "rm x",
    ):
        with pytest.raises(AssertionError):
            check(simple_commands(wrong)[0], block, monkeypatch)
    with pytest.raises(Exception, match="unknown key"):
        check(["glotune", "train", "xlmr-6-layers", "data.train=en.csv", "model.layer=6"], block, monkeypatch)
    with pytest.raises(SystemExit):
        check(["python", "-m", "benchmarks", "acuracy"], block, monkeypatch)
