from glotune.run.state import find_runs, readable_runs
from made_runs import make_run


def test_runs_set_aside_are_left_out_and_runs_three_folders_down_are_found(tmp_path):
    make_run(tmp_path / "a", "running")
    make_run(tmp_path / "study" / "runs" / "b", "running")
    make_run(tmp_path / "study" / "runs" / ".b.failed-1", "running")
    make_run(tmp_path / "one" / "two" / "three" / "four", "running")
    (tmp_path / "link").symlink_to(tmp_path / "study")
    names = [str(run.path.relative_to(tmp_path)) for run in find_runs(tmp_path)]
    assert names == ["a", "study/runs/b"]
    assert [run.path for run, _ in readable_runs(tmp_path)[0]] == [run.path for run in find_runs(tmp_path)]
    assert [run.path for run in find_runs(tmp_path / "a")] == [tmp_path / "a"]
