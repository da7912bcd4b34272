"""What is said beside runs that read their texts otherwise than others."""

from pathlib import Path

from glotune.report.conditions import conditions_of
from glotune.run.data import load_run
from made_runs import make_run


def test_windows_are_told_where_runs_differ_in_them(tmp_path: Path) -> None:
    windows = {"data.windows": {"stride": 32, "most": 4, "pool": "max"}}
    keys = {"cut": {}, "long": windows, "also": windows}
    runs = [load_run(make_run(tmp_path / name, keys=each, leaked=0)) for name, each in keys.items()]
    cut, long, _ = conditions_of(runs, "test", ["bn"])
    assert [each.word for each in cut] == ["windows None"]
    assert [each.word for each in long] == ["windows stride 32, most 4, pool max"]
    assert "data.windows stride 32, most 4, pool max, unlike others here" in long[0].sentence
    assert conditions_of(runs[1:], "test", ["bn"]) == [(), ()]
