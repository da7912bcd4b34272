"""What the documentation is made from is current: keys, commands, pictures, names of Trainer; and the site builds."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from doc_blocks import PROJECT


@pytest.fixture(autouse=True)
def _documentation_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROJECT))


def keys_of(model: type, path: str = "") -> set[str]:
    """Dotted keys of a recipe model, read from its fields and not from its schema."""
    from pydantic import BaseModel

    found = set()
    for name, field in model.model_fields.items():
        found.add(path + name)
        parts = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= keys_of(part, f"{path}{name}.")
    return found


def test_every_recipe_key_is_on_its_page_with_a_meaning() -> None:
    from documentation.recipe_pages import pages

    for page in pages():
        rows = re.findall(r"^\| `([^`]+)` \| (.+) \| (.*) \| (.+) \|$", page.text, re.MULTILINE)
        named = {key.replace("[]", "").replace(".NAME", "") for key, *_ in rows}
        assert keys_of(page.model) == named, page.place
        assert all(meaning.strip() for *_, meaning in rows), page.place


def test_every_command_is_on_the_page_with_its_options() -> None:
    from documentation.command_page import text

    from glotune.cli.main import COMMANDS

    page = text()
    for name in COMMANDS:
        assert f"### glotune {name}" in page
    for option in ("--out", "--on", "--once", "--dry-run", "--calibrated"):
        assert f"`{option}" in page


def test_the_pictures_are_those_that_the_code_draws(tmp_path: Path) -> None:
    from documentation.__main__ import FOLDER, main

    main(tmp_path)
    drawn = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert drawn == kept, "draw them again: python -m documentation"


def test_the_mapping_from_trainer_names_what_exists() -> None:
    from dataclasses import fields

    from documentation.recipe_pages import pages
    from transformers import TrainingArguments

    from glotune.cli.main import COMMANDS

    page = (PROJECT / "docs/guides/from-trainer.md").read_text(encoding="utf-8")
    table = page.split("| TrainingArguments |")[1].split("\n\n")[0]
    theirs = {field.name for field in fields(TrainingArguments)}
    ours = keys_of(pages()[0].model)
    rows = [line.split("|")[1:4] for line in table.splitlines()[2:]]
    assert len(rows) > 20
    for left, right, _ in rows:
        names = re.findall(r"`([^`]+)`", left)
        assert names, left
        assert set(names) <= theirs, f"{left}: not of this transformers"
        for key in re.findall(r"`([^`]+)`", right):
            known = key in ours or key == "--out" or key.removeprefix("glotune ") in COMMANDS
            assert known, f"{key} is neither a recipe key nor a command"


def test_every_link_of_a_page_leads_to_a_file_of_the_repository() -> None:
    """As a reader of the repository follows it; the site's own build checks the same for the site."""
    broken, followed = [], 0
    for page in [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]:
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            place = target.partition("#")[0]
            if not place or "://" in place or place.startswith("mailto:"):
                continue
            followed += 1
            if not (page.parent / place).exists():
                broken.append(f"{page.relative_to(PROJECT)}: {target}")
    assert not broken
    assert followed > 50


@pytest.mark.extras
@pytest.mark.skipif(find_spec("mkdocs") is None, reason="MkDocs is not installed; make docs builds the site strictly")
def test_the_site_builds_without_a_broken_link_and_loads_nothing_from_outside(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {"index.html", "start.html", "commands.html", "recipe.html", "python.html"} <= {page.name for page in pages}
    api = (tmp_path / "site/reference/python.html").read_text(encoding="utf-8")
    assert "Trains one recipe, from labelled texts to a judged run" in api, "docstrings are on the page"


def test_a_page_that_loads_from_outside_is_seen() -> None:
    pytest.importorskip("mkdocs", reason="MkDocs is not installed; make docs builds the site strictly")
    from documentation.hook import outside

    for tag in (
        '<script src="https://x.org/a.js">',
        '<link rel="stylesheet" href="//x.org/a.css">',
        "<img src=http://x.org/a>",
    ):
        assert outside(f"<html>{tag}</html>")
    assert outside('<a href="https://x.org">x</a><link rel="canonical" href="https://x.org"><img src="a.svg">') is None
