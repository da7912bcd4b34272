"""The entry point: fast help, exit codes, one paragraph per failure."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from glotune.cli.failures import report_failure
from glotune.cli.main import run as glotune_command
from glotune.errors import InterruptedRun, RunError, UserError
from made_runs import make_run


def glotune(*arguments: str, cwd: Path | None = None, code: str = "") -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.argv[0] = 'glotune'; from glotune.cli.main import run; {code or 'run()'}"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["recipes"], ["recipes", "schema"]])
def test_light_commands_import_neither_torch_nor_transformers(arguments: list[str]) -> None:
    code = (
        "\ntry:\n    run()\nfinally:\n    heavy = {'torch', 'transformers', 'sklearn', 'scipy', 'matplotlib', "
        "'pyarrow', 'datasets'} & set(sys.modules)\n    print('HEAVY', sorted(heavy), file=sys.stderr)"
    )
    program = "import sys; sys.argv[0] = 'glotune'; from glotune.cli.main import run" + code
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("train quickstart out=runs/x", "'out=runs/x' names no recipe key. Did you mean --out runs/x?"),
        ("train quickstart output=runs/x plan=true", "Did you mean --out runs/x --plan?"),
        ("study humor-v2 jobs=2 scale=tiny", "Did you mean --jobs 2 --scale tiny?"),
        ("data check en.csv page=x.html", "Did you mean --page x.html?"),
        ("train quickstart jobs=2", "jobs: unknown key"),  # an option of study, not of train
        ("train quickstart seed=x", "seed: found 'x', expected an integer"),
    ],
)
def test_an_option_typed_as_a_key_is_hinted_at(arguments: str, told: str, tmp_path: Path) -> None:
    done = glotune(*arguments.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert not list(tmp_path.iterdir())


def test_evaluate_takes_files_as_predict_does(tmp_path: Path) -> None:
    done = glotune("evaluate", "nowhere", "bn.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    from glotune.cli.evaluate import parse_sources

    assert parse_sources(["bn=bn.csv", "sw=sw.csv"]) == {"bn": "bn.csv", "sw": "sw.csv"}
    with pytest.raises(UserError, match=r"sw\.csv names no language"):
        parse_sources(["bn=bn.csv", "sw.csv"])


def test_a_file_with_an_equals_sign_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from glotune.cli.evaluate import parse_sources

    monkeypatch.chdir(tmp_path)
    assert parse_sources(["a=b.csv"]) == {"a": "b.csv"}
    (tmp_path / "a=b.csv").touch()
    assert parse_sources(["a=b.csv"]) == ["a=b.csv"]


@pytest.mark.parametrize("command", ["train", "report", "predict", "study"])
def test_a_name_too_long_for_a_file_is_the_users_mistake(command: str, tmp_path: Path) -> None:
    done = glotune(command, "x" * 300, cwd=tmp_path)
    assert done.returncode == 2
    assert "x" * 300 in done.stderr
    assert "fault of glotune" not in done.stderr


def test_help_is_fast() -> None:
    """It loads little more than a bare typer command: modules, since times differ from run to run."""
    bare = modules_of("import typer; app = typer.Typer(); app.command()(lambda: None)", "app(['--help'])")
    own = modules_of("from glotune.cli.main import run; sys.argv = ['glotune', '--help']", "run()")
    assert len(bare) > 100
    assert {name.partition(".")[0] for name in own - bare} <= {"glotune", "tempfile"}
    assert len(own - bare) < 40


def modules_of(preparation: str, call: str) -> set[str]:
    """What a process has imported once it has answered."""
    code = f"import sys; {preparation}\ntry:\n    {call}\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr.split())


def test_the_version_can_be_asked_for_as_of_any_tool() -> None:
    assert glotune("--version").stdout == glotune("version").stdout != ""


def test_importing_the_package_is_torch_free() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, glotune; print(glotune.__version__); "
            "print([m for m in ('torch', 'pydantic', 'numpy') if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[1] == "[]"


def test_the_package_names_what_it_lacks() -> None:
    import glotune

    with pytest.raises(AttributeError, match="trian"):
        glotune.trian  # noqa: B018
    assert set(glotune.__all__) <= set(dir(glotune))


def test_a_user_error_exits_2_with_one_paragraph_on_stderr(tmp_path: Path) -> None:
    done = glotune("train", "humor-v2", "data.trian=x.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean 'data.train'?" in done.stderr
    assert "data.train: missing; give it as data.train=FILE" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback_wherever_it_stands() -> None:
    for arguments in (["--debug", "recipes", "show", "nope"], ["recipes", "show", "nope", "--debug"]):
        done = glotune(*arguments)
        assert done.returncode == 2
        assert "Traceback" in done.stderr


def test_an_unknown_command_suggests_the_nearest() -> None:
    done = glotune("trian")
    assert done.returncode == 2
    assert "train" in done.stderr


def test_an_unforeseen_error_is_one_paragraph_and_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        1 / 0  # noqa: B018
    assert report_failure(caught.value, debug=False) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    kept = Path(message.split("The traceback is in ")[1].split("; --debug")[0])
    assert "1 / 0" in kept.read_text()
    kept.unlink()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("x"), 2),
        (RunError("x"), 1),
        (InterruptedRun("x"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_failure(error, debug=False) == code
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [
        (errno.EROFS, 2, "r/report/report.md can't be opened (Read-only file system). Expected a place"),
        (errno.EACCES, 2, "r/report/report.md can't be opened (Permission denied). Expected a place"),
        (errno.ENOSPC, 1, "r/report/report.md can't be written (No space left on device). Make room there"),
    ],
)
def test_a_place_that_can_not_be_written_is_named_and_no_fault_of_ours(
    number: int, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report_failure(OSError(number, os.strerror(number), "r/report/report.md"), debug=False) == code
    said = capsys.readouterr().err
    assert told in said
    assert "fault" not in said


def test_a_report_of_a_read_only_run_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(path: Path, *arguments: object, **keywords: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    run = make_run(tmp_path / "run")
    monkeypatch.setattr(Path, "mkdir", read_only)  # root may write wherever the disk lets it
    with pytest.raises(SystemExit) as ended:
        glotune_command(["report", str(run.path)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"{run.path / 'report'}" in said
    assert "Read-only file system" in said
    assert "copy" in said


def test_output_for_programs_is_utf_8_whatever_the_locale_says(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: r  # ভালো\n", encoding="utf-8")
    program = "import sys; sys.argv[0] = 'glotune'; from glotune.cli.main import run; run()"
    latin = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", program, "recipes", "show", "r.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=latin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode("utf-8") == "name: r  # ভালো\n"


def test_a_closed_pipe_is_no_traceback() -> None:
    program = "import sys; sys.argv[0] = 'glotune'; from glotune.cli.main import run; run()"
    command = f'{sys.executable} -c "{program}" recipes schema | head -c 10 > /dev/null'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
