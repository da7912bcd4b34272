"""A study from its plan to its report, with made-up runs: crashes, kills, repetitions, claims. No torch."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from glotune.errors import InterruptedRun, UserError
from glotune.recipe import yaml
from glotune.recipe.study_loading import load_study, resolve_study
from glotune.run.directory import RunDirectory
from glotune.run.records import RunStatus
from glotune.stats.power import planned_difference, seeds_for
from glotune.study import execute, local
from glotune.study.directory import StudyDirectory
from glotune.study.evidence import answers
from glotune.study.plan import few_seeds, plan_runs, write_recipes
from glotune.study.power import plan_lines
from glotune.study.progress import Progress, SilentWatcher, Tally
from glotune.study.run_study import FinishedStudy, run_study
from glotune.study.stopping import stop_study
from made_runs import make_run
from small_runs import sentences, write_csv

MADE_CHILD = (str(Path(__file__).parent / "made_child.py"),)


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.states: list[Progress] = []

    def say(self, message: str) -> None:
        self.lines.append(message)

    def progress(self, progress: Progress) -> None:
        self.states.append(progress)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two variants, of which one is better beyond chance, each with a report as its own process leaves it."""
    folder = tmp_path_factory.mktemp("ready")
    for name, accuracy, rate in (("good", 0.9, 1e-4), ("bad", 0.6, 2e-4)):
        for seed in range(4):
            made = make_run(
                folder / f"{name}-seed{seed}",
                name=name,
                seed=seed,
                n=90,
                epochs=2,
                languages={"en": 0.9, "bn": accuracy},
                keys={"optimizer.learning_rate": rate},
            )
            made.report.mkdir()
            (made.report / "report.html").write_text("drawn by the run")
    return folder


@pytest.fixture(autouse=True)
def _made_children(monkeypatch: pytest.MonkeyPatch, ready: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "CHILD", MADE_CHILD)
    (tmp_path / "ready").symlink_to(ready)


def study_file(folder: Path, **content: Any) -> Path:
    train = write_csv(folder / "en.csv", sentences("en", 30))
    base = {"model": {"name": "folder"}, "data": {"train": {"en": str(train)}}}
    claims = [
        {"name": "Good beats bad", "form": "superior", "margin": 0.05, "variants": ["good", "bad"]},
        {"name": "Bad keeps up", "form": "non_inferior", "margin": 0.02, "variants": ["bad", "good"]},
        {"name": "Bad is faster", "form": "superior", "metric": "train_seconds", "variants": ["bad", "good"]},
    ]
    variants = {"bad": {}, "good": {"optimizer.learning_rate": 1e-4}}
    made = {"name": "made", "recipe": base, "variants": variants, "seeds": 3, "claims": claims, **content}
    path = folder / "made.yaml"
    path.write_text(yaml.dump(made))
    return path


def started(folder: Path) -> list[str]:
    return (folder / "study/started.txt").read_text().split()


def studied(folder: Path, told: Told | None = None, jobs: int = 2, **content: Any) -> FinishedStudy:
    resolved = resolve_study(load_study(study_file(folder, **content)))
    return run_study(resolved, folder / "study", jobs=jobs, watcher=told)


class LeavesAtOnce(Told):
    """Leaves the study when it is told anything, as a user may."""

    def say(self, message: str) -> None:
        super().say(message)
        raise InterruptedRun("enough")


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_are_warned_of_before_anything_is_trained(tmp_path: Path, seeds: int) -> None:
    told = LeavesAtOnce()
    with pytest.raises(InterruptedRun):
        studied(tmp_path, told, seeds=seeds)
    assert told.lines[0].startswith(f"warning: {seeds} seed")
    assert "better 5 (--seeds 5)" in told.lines[0]
    assert not (tmp_path / "study").exists()


def test_three_seeds_or_a_study_that_compares_nothing_are_not_warned_of(tmp_path: Path) -> None:
    assert few_seeds(resolve_study(load_study(study_file(tmp_path, seeds=3)))) is None
    alone = study_file(tmp_path, seeds=2, claims=[], variants={"good": {}})
    assert few_seeds(resolve_study(load_study(alone))) is None


def executed(folder: Path, told: Told | None = None, jobs: int = 2) -> execute.Outcome:
    """The study's runs without its report."""
    directory = StudyDirectory(folder / "study")
    directory.create()
    plan = plan_runs(resolve_study(load_study(study_file(folder))), directory)
    write_recipes(plan, directory)
    directory.write_study({})
    return execute.carry_out(list(plan.runs), directory, local.LocalWorkers(directory, jobs), told or SilentWatcher())


def first_claim(folder: Path, failed: dict[str, str]) -> Any:
    """The answer to the first claim from the runs that are complete."""
    from glotune.run.data import load_run

    directory = StudyDirectory(folder / "study")
    plan = plan_runs(resolve_study(load_study(study_file(folder))), directory)
    places = [directory.runs / run.name for run in plan.runs if run.name not in failed]
    return answers(plan, [load_run(place) for place in places], directory.read_results(), failed)[0]


def behave(folder: Path, behaviour: dict[str, list[str]]) -> None:
    (folder / "study").mkdir(exist_ok=True)
    (folder / "study/study.yaml").write_text("{}\n")
    (folder / "study/behaviour.json").write_text(json.dumps(behaviour))


def test_a_study_answers_its_claims_and_never_repeats_a_run(tmp_path: Path) -> None:
    told = Told()
    found = studied(tmp_path, told)
    assert [answer.answer for answer in found.summary.answers] == ["supported", "refuted", "supported"]
    assert len(started(tmp_path)) == 6
    assert told.states[-1].done == told.states[-1].total == 6
    report = found.summary.files.markdown.read_text()
    for words in (
        "**supported**: Good beats bad",
        "**refuted**: Bad keeps up",
        "| **good** |",
        "Holm",
        "21 s",
        "11 s",
    ):
        assert words in report, words
    assert found.summary.files.page.stat().st_size > 10_000
    for name in ("claims", "variants", "costs", "runs"):
        for ending in ("md", "csv", "tex"):
            assert (tmp_path / f"study/report/tables/{name}.{ending}").stat().st_size > 50
    claims = json.loads((tmp_path / "study/report/claims.json").read_text())["claims"]
    assert [each["answer"]["answer"] for each in claims] == ["supported", "refuted", "supported"]
    first = claims[0]["answer"]
    assert first["interval"]["low"] < first["improvement"] < first["interval"]["high"]

    again = studied(tmp_path)
    assert len(started(tmp_path)) == 6, "finished runs are never repeated"
    assert again.summary.files.markdown.read_text() == report

    more = studied(tmp_path, seeds=4)
    assert sorted(started(tmp_path)[6:]) == ["bad-seed3", "good-seed3"], "a seed may join"
    assert len(more.plan.runs) == 8


def test_crashed_runs_are_continued_and_failed_ones_named(tmp_path: Path) -> None:
    behave(
        tmp_path,
        {
            "bad-seed0": ["crash"],
            "bad-seed1": ["vanish"],
            "good-seed0": ["error"],
            "good-seed1": ["mistake"],
            "good-seed2": ["crash", "crash"],
        },
    )
    told = Told()
    found = executed(tmp_path, told)
    assert set(found.failed) == {"good-seed1", "good-seed2"}
    assert "no such module" in found.failed["good-seed1"]
    assert "code -9" in found.failed["good-seed2"]
    counts = {name: started(tmp_path).count(name) for name in set(started(tmp_path))}
    assert counts == {
        "bad-seed0": 2, "bad-seed1": 2, "bad-seed2": 1, "good-seed0": 2, "good-seed1": 1, "good-seed2": 2,
    }  # fmt: skip
    assert any("is retried" in line for line in told.lines)
    assert [path.name for path in (tmp_path / "study/runs").glob(".*")] == [".good-seed0.failed-1"]
    assert first_claim(tmp_path, found.failed).answer == "inconclusive", "one seed says nothing about other seeds"
    assert not executed(tmp_path).failed, "called again, failed runs are retried"
    assert first_claim(tmp_path, {}).answer == "supported"


def test_a_diverged_run_is_not_repeated_and_its_claims_have_no_answer(tmp_path: Path) -> None:
    behave(tmp_path, {"good-seed1": ["diverge"]})
    found = executed(tmp_path)
    assert started(tmp_path).count("good-seed1") == 1
    assert found.failed == {"good-seed1": "DivergedTraining: nan"}
    answer = first_claim(tmp_path, found.failed)
    assert answer.answer == "inconclusive"
    assert "diverged" in answer.reason
    executed(tmp_path)
    assert started(tmp_path).count("good-seed1") == 1


def test_an_interrupted_run_interrupts_the_study(tmp_path: Path) -> None:
    behave(tmp_path, {"bad-seed1": ["interrupt"]})
    with pytest.raises(InterruptedRun, match="same command"):
        executed(tmp_path, jobs=1)
    assert len(started(tmp_path)) == 3
    assert not executed(tmp_path).failed


def test_no_run_complete_is_an_error_that_says_why(tmp_path: Path) -> None:
    behave(tmp_path, {f"{name}-seed{seed}": ["mistake"] for name in ("good", "bad") for seed in range(3)})
    with pytest.raises(UserError, match="no such module"):
        studied(tmp_path)


def test_a_mistake_in_the_data_leaves_nothing_behind(tmp_path: Path) -> None:
    resolved = resolve_study(load_study(study_file(tmp_path)), "full", ["data.train.en=none.csv"])
    with pytest.raises(UserError, match=r"none\.csv"):
        run_study(resolved, tmp_path / "study")
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"train": {"en": "/dev/fd/63"}}, "is a pipe, which a study can't read"),
        ({"validation": {"bn": "bn.csv"}}, r"evaluate\.on is 'source', but the validation texts are in: bn"),
    ],
)
def test_texts_that_no_run_could_use_are_told_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "bn.csv", sentences("en", 12))
    base = {"model": {"name": "folder"}, "data": {"train": {"en": "en.csv"}, **keys}}
    study = resolve_study(load_study(study_file(tmp_path, recipe=base)))
    with pytest.raises(UserError, match=words):
        run_study(study, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_another_study_does_not_mix_with_the_runs_in_the_folder(tmp_path: Path) -> None:
    executed(tmp_path)
    with pytest.raises(UserError, match="of another recipe"):
        studied(tmp_path, keys={"train": {"epochs": 9}})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is no study"):
        run_study(resolve_study(load_study(study_file(tmp_path))), tmp_path / "notes")


def test_counted_costs_are_answered_without_a_p_value_by_one_seed_too(tmp_path: Path) -> None:
    """The made-up runs train 43,120,899 parameters and 2 epochs, whatever their seed."""
    claims = [
        {"name": f"{metric} {form}", "form": form, "metric": metric, "margin": margin, "variants": ["good", "bad"]}
        for metric in ("trainable_parameters", "epochs")
        for form, margin in (("superior", 1.5), ("non_inferior", 1.0))
    ]
    found = studied(tmp_path, claims=claims, seeds=1)
    answered = found.summary.answers
    assert [each.answer for each in answered] == ["refuted", "supported"] * 2
    assert {(each.interval, each.p_value, each.improvement, each.more_seeds) for each in answered} == {
        (None, None, 1.0, 0)
    }
    table = found.summary.tables[0]
    shown = [dict(zip([column.name for column in table.columns], row, strict=True)) for row in table.rows]
    assert {(row["p, corrected"].text, row["Interval"].text, row["Improvement"].text) for row in shown} == {
        ("–", "–", "× 1")
    }
    assert "is compared without interval or p-value" in found.summary.files.markdown.read_text()


def test_one_variant_and_one_seed_still_make_a_report(tmp_path: Path) -> None:
    found = studied(tmp_path, variants={"good": {}}, seeds=1, claims=[])
    assert "nothing is tested" in found.summary.files.markdown.read_text()


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_study_takes_its_runs_along_and_goes_on(by: signal.Signals, tmp_path: Path) -> None:
    behave(tmp_path, {"bad-seed0": ["slow"]})
    with _studying(tmp_path) as process:
        children = _children(process.pid)
        assert len(children) == 1
        process.send_signal(by)
        process.wait()
        deadline = time.monotonic() + 60
        while _alive(children[0]) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _alive(children[0]), "no run outlives its study"
    assert not executed(tmp_path).failed
    assert started(tmp_path).count("bad-seed0") == 2


@contextmanager
def _studying(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A study in a process of its own, its first run under way."""
    study_file(folder)
    code = (
        "from pathlib import Path; from glotune.study import local\n"
        f"local.CHILD = {MADE_CHILD!r}\n"
        "from glotune.recipe.study_loading import load_study, resolve_study\n"
        "from glotune.study.run_study import run_study\n"
        f"run_study(resolve_study(load_study({str(folder / 'made.yaml')!r})), Path({str(folder / 'study')!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        marks, deadline = folder / "study/started.txt", time.monotonic() + 120
        while not marks.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)  # the study listens to its child by now
        yield process
    finally:
        process.kill()
        process.wait()


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]


def _alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.mark.extras
@pytest.mark.parametrize("now", [False, True])
def test_a_study_is_stopped_by_its_folder_with_all_its_runs(now: bool, tmp_path: Path) -> None:
    behave(tmp_path, {"bad-seed0": ["slow"]})
    with _studying(tmp_path) as process:
        (child,) = _children(process.pid)
        told: list[str] = []
        line = stop_study(tmp_path / "study", now=now, log=told.append)
        process.wait(10)
        assert not _alive(child)
    assert line.startswith(f"{tmp_path / 'study'} stopped: 0 of 6 runs are complete. Go on with: glotune study")
    assert ("finishes its step" in "".join(told)) is not now
    assert executed(tmp_path).finished
    assert started(tmp_path).count("bad-seed0") == 2


def test_a_study_that_is_not_running_settles_what_its_runs_left(tmp_path: Path) -> None:
    behave(tmp_path, {"good-seed1": ["crash", "crash"]})
    executed(tmp_path)
    run = RunDirectory(tmp_path / "study/runs/good-seed1")
    assert run.read_manifest().status is RunStatus.RUNNING
    told: list[str] = []
    line = stop_study(tmp_path / "study", log=told.append)
    assert "is not running: 5 of 6 runs are complete" in line
    assert "its process is gone" in told[0]
    assert run.read_manifest().status is RunStatus.INTERRUPTED


def test_a_study_of_another_machine_is_refused_with_the_way_to_stop_it(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(json.dumps({"pid": 1, "host": "far-away", "since": "then"}))
    with pytest.raises(UserError, match=f"ssh far-away glotune stop {tmp_path}"):
        stop_study(tmp_path, log=lambda line: None)


def test_time_left_of_a_resumed_run_counts_what_this_session_trained() -> None:
    moment = [0.0]
    tally = Tally(["a"], Told(), clock=lambda: moment[0])
    tally.start("a")
    tally.progress("a", "train", 81, 100)  # 80 steps were made by an earlier session
    moment[0] = 10.0
    tally.progress("a", "train", 91, 100)
    trained, left = 0.15 + 0.75 * 11 / 100, 0.1 + 0.75 * 9 / 100
    assert tally.state().seconds_left == pytest.approx(10.0 / trained * left)


def test_time_left_follows_the_pace() -> None:
    moment = [0.0]
    told = Told()
    tally = Tally(["a", "b", "c", "d"], told, clock=lambda: moment[0])
    tally.skip("a")
    tally.start("b")
    assert tally.state().seconds_left is None
    moment[0] = 30.0
    tally.end("b", "macro-F1 61.0, sound")
    assert tally.state().seconds_left == pytest.approx(60.0)
    assert told.lines == ["[2/4] b: macro-F1 61.0, sound (30 s; 1 min left)"]
    tally.start("c")
    moment[0] = 45.0
    tally.progress("c", "train", 1, 2)
    tally.progress("c", "tokenize", 1, 2)
    share = dict(tally.state().running)["c"]
    assert 0.3 < share < 0.7, "a run never goes back"
    assert tally.state().seconds_left == pytest.approx(45.0 / (1 + share) * (2 - share))


def test_a_study_says_before_it_runs_what_it_can_show(tmp_path: Path) -> None:
    three, ten = (
        plan_lines(resolve_study(load_study(study_file(tmp_path, seeds=seeds, claims=[])))) for seeds in (3, 10)
    )
    assert three[0] == "2 variants, 3 seeds each: 6 runs"
    shown = [float(re.search(r"a difference of ([\d.]+) points", lines[1])[1]) for lines in (three, ten)]
    assert shown[0] >= shown[1] > 0  # a handful of test texts: seeds hardly matter
    assert "points: " in three[2]
    claim = {"name": "a", "form": "superior", "variants": ["good", "bad"]}
    claimed = plan_lines(resolve_study(load_study(study_file(tmp_path, seeds=3, claims=[claim]))))
    first_look = float(re.search(r"a difference of ([\d.]+) points", claimed[1])[1])
    assert first_look > shown[0], "a claim is tested at the level of its first look"
    told = Told()
    studied(tmp_path, told)
    assert any("seeds can show a difference of" in line for line in told.lines)


@pytest.mark.parametrize(("seeds", "points"), [(3, 2.95), (5, 1.99)])
def test_the_difference_that_seeds_show_by_hand(seeds: int, points: float) -> None:
    """t quantile times the standard error, and 0.84 standard errors for a chance of 80 %; texts without end."""
    assert 100 * planned_difference(seeds, 0.01, 0.0) == pytest.approx(points, abs=0.01)
    assert seeds_for(0.02, 0.01, 0.0) == 5
    assert seeds_for(0.02, 0.01, 0.01) is None
