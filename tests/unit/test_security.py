"""No code from data: no eval, no pickle, no unsafe YAML; no secret in a run's files; no path that leads outside."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from yaml import SafeLoader

import glotune
from glotune.data.cache import damage_of
from glotune.data.reading import read_texts
from glotune.engine.checkpoints import CheckpointStore, damage
from glotune.errors import UserError, printable
from glotune.recipe import yaml
from glotune.recipe.schema import Data
from glotune.verbs.train import train
from small_runs import sentences, small_recipe, write_csv

SOURCE = Path(glotune.__file__).parent
BUILT_IN = {"eval", "exec", "compile", "__import__"}
UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
HARMLESS_NAMES = {"UnpicklingError"}
"""May be imported from pickle: an error to catch."""


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}", node


def offences(where: str, node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"{where} imports {name.name}" for name in node.names if name.name.split(".")[0] in UNSAFE_MODULES)
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNSAFE_MODULES:
        yield from (f"{where} imports {name.name}" for name in node.names if name.name not in HARMLESS_NAMES)
    if not isinstance(node, ast.Call):
        return
    called = ast.unparse(node.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if called in BUILT_IN:
        yield f"{where} calls {called}"
    if called in ("os.system", "os.popen") or given.get("shell") == "True":
        yield f"{where} gives text to a shell: {called}"
    if called == "torch.load" and given.get("weights_only") != "True":
        yield f"{where} loads pickled code"
    if called == "torch.save" or given.get("allow_pickle") == "True":
        yield f"{where} pickles"
    if called.startswith("yaml.") and called.endswith(("load", "load_all")) and not _is_safe(called, given):
        yield f"{where} reads YAML unsafely"
    if given.get("trust_remote_code") == "True":
        yield f"{where} trusts remote code without being asked to"


def _is_safe(called: str, given: dict[str | None, str]) -> bool:
    return called in ("yaml.safe_load", "yaml.safe_load_all") or given.get("Loader") == "_Loader"


def test_no_module_runs_what_it_reads() -> None:
    found = [offence for where, node in nodes() for offence in offences(where, node)]
    assert found == []


@pytest.mark.parametrize(
    "code",
    ["eval('1')", "import pickle", "from pickle import loads", "torch.load(p)", "yaml.load(t, Loader=yaml.Loader)",
     "yaml.unsafe_load(t)", "subprocess.run(c, shell=True)", "np.load(p, allow_pickle=True)",
     "f(trust_remote_code=True)"],
)  # fmt: skip
def test_the_scan_sees(code: str) -> None:
    assert [found for node in ast.walk(ast.parse(code)) for found in offences("x", node)]


def test_yaml_makes_no_objects() -> None:
    assert issubclass(yaml._Loader, SafeLoader)
    with pytest.raises(UserError, match="not valid YAML"):
        yaml.parse("!!python/object/apply:os.system ['echo']", "recipe.yaml")


def test_remote_code_is_trusted_only_by_the_recipe_and_shown(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    assert recipe.model.trust_remote_code is False
    plain = train(recipe, out=tmp_path / "plain", command=[], report=False)
    assert json.loads(plain.directory.manifest_path.read_text())["trust_remote_code"] is False
    trusting = train(recipe, {"model.trust_remote_code": True}, out=tmp_path / "trusting", command=[])
    assert trusting.manifest.trust_remote_code is True
    assert "remote code" in (trusting.path / "report" / "report.md").read_text().lower()


def test_keys_in_the_environment_stay_out_of_a_runs_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hf_hush0123456789abcdefghij"
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_KEY"):
        monkeypatch.setenv(name, secret)
    run = train(small_recipe(tmp_path), out=tmp_path / "run")
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert len(files) > 15
    assert [path.name for path in files if secret.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("name", ["../../outside", "a/b", "..", ".hidden", "a\\b", "a\x1bb", "x" * 65])
def test_a_language_is_no_path(name: str, tmp_path: Path) -> None:
    path = str(write_csv(tmp_path / "t.csv", sentences("en", 12)))
    with pytest.raises(UserError, match="can't be part of a file name") as error:
        read_texts(Data.model_validate({"train": {"en": path}, "validation": {name: path}}), 0)
    assert "\x1b" not in str(error.value)


def test_names_in_manifests_lead_nowhere_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not yours")
    stated = {"bytes": 9, "sha256": "0" * 64}
    folder = tmp_path / "checkpoints" / "step-00000001"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "step": 1, "files": {"../../outside": stated}}))
    assert damage(folder) == "outside is missing", "looked for inside the checkpoint only"
    assert damage_of(folder, "key") is not None
    (tmp_path / "checkpoints" / "step-00000002").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("not yours either")
    with pytest.raises(OSError, match="symbolic link"):
        CheckpointStore(tmp_path / "checkpoints", keep=1).drop_after(0)
    assert (tmp_path / "elsewhere" / "kept").exists()
    assert outside.exists()


def test_messages_can_not_command_a_terminal() -> None:
    assert printable("a\x1b[2J\u202eb\x07\ud800\u2028") == "a\\x1b[2J\\u202eb\\x07\\ud800\\u2028"
    assert printable("বাংলা ভাষা\n\u200dमें\tA") == "বাংলা ভাষা\n\u200dमें\tA"
    assert "\x1b" not in str(UserError("column '\x1b[31m'", expected="\x07"))
