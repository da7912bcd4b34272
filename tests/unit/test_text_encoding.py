"""Text is written and read as UTF-8 whatever the locale says."""

from __future__ import annotations

import ast
import codecs
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glotune.run.directory import RunDirectory

ROOT = Path(__file__).parents[2]
PATH_METHODS = ("read_text", "write_text")
OPENERS = ("open", "fdopen")
BINARY_BY_DEFAULT = ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile")
PROCESSES = ("Popen", "run", "check_output")


def unnamed(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that turn text into bytes or back and leave the encoding to the locale.

    The lint rule (PLW1514) sees only what it knows to be a `Path`; here attributes and parameters count too.
    """
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        values = [node.value for node in (*call.args, *given.values()) if isinstance(node, ast.Constant)]
        texts = [value for value in values if isinstance(value, str)]
        if name in PATH_METHODS:
            missing = not any(is_encoding(text) for text in texts)
        elif name in (*OPENERS, *BINARY_BY_DEFAULT):
            modes = [text for text in texts if set(text) <= set("rwaxbt+")]
            by_default = name in OPENERS and not (call.args or given)
            missing = not any("b" in mode for mode in modes) if modes else by_default
        else:
            missing = name in PROCESSES and bool({"text", "universal_newlines"} & given.keys())
        if missing and "encoding" not in given:
            yield call


def is_encoding(text: str) -> bool:
    try:
        return bool(codecs.lookup(text))
    except LookupError:
        return False


@pytest.mark.parametrize("place", ["src", "faults", "benchmarks", "documentation"])
def test_every_text_file_is_opened_with_its_encoding_named(place: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)[:90]}"
        for path in sorted((ROOT / place).rglob("*.py"))
        for call in unnamed(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_a_run_directory_holds_bangla_labels_under_a_locale_without_them(tmp_path: Path) -> None:
    code = (
        "import sys; from glotune.run.records import *; from glotune.run.directory import *\n"
        "manifest = Manifest(name='r', status='running', created=now(), updated=now(), seed=0, recipe_hash='x',"
        " command=[], labels=['\\u09ad\\u09be\\u09b2\\u09cb', 'b'])\n"
        "RunDirectory.create(Path(sys.argv[1]), 'name: \\u09ad\\n', manifest)"
    )
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "run"], env=ascii_only, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert RunDirectory.open(tmp_path / "run").read_manifest().labels == ["ভালো", "b"]
    assert (tmp_path / "run" / "recipe.yaml").read_bytes() == "name: ভ\n".encode()
