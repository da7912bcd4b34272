"""What a study planned, what was changed, and which of its runs count all the same. Nothing is trained or drawn."""

from pathlib import Path
from typing import Any

import pytest

from glotune.errors import UserError
from glotune.recipe.study import StudyRecipe
from glotune.recipe.study_loading import ResolvedStudy, resolve_study
from glotune.study.directory import StudyDirectory
from glotune.study.locked_plan import (
    content_of,
    evidence_of,
    keep_look,
    level_of_look,
    level_of_next_look,
    lock_plan,
    read_plan,
    with_dropped,
)
from glotune.study.plan import StudyPlan, list_runs
from glotune.study.tables import plan_table
from made_runs import make_run

CLAIM = {"name": "longer is better", "form": "superior", "variants": ["longer", "base"]}


def resolved(**content: Any) -> ResolvedStudy:
    base = {"model": {"name": "glotune-nano"}, "data": {"train": {"en": "en.csv"}, "test": {"bn": "bn.csv"}}}
    made = {"name": "made", "recipe": base, "variants": {"base": {}, "longer": {"train.epochs": 4}}}
    return resolve_study(StudyRecipe.model_validate({**made, "seeds": [0, 1, 2], "claims": [CLAIM], **content}))


def planned(study: ResolvedStudy) -> StudyPlan:
    return StudyPlan(study, list_runs(study, lambda name, seeded, fold: seeded), {})


@pytest.fixture
def directory(tmp_path: Path) -> StudyDirectory:
    """A locked study of which seed 2 is half done: base complete, longer diverged."""
    found = StudyDirectory(tmp_path / "study")
    found.create()
    assert lock_plan(resolved(), found) == []
    for name, kind in (("base-seed0", "sound"), ("base-seed2", "sound")):
        make_run(found.runs / name, kind, name="base", n=30, epochs=1)  # type: ignore[arg-type]
    return found


def test_a_plan_is_locked_once_and_the_same_again_changes_nothing(directory: StudyDirectory) -> None:
    before = directory.plan.read_text()
    assert lock_plan(resolved(), directory) == []
    assert directory.plan.read_text() == before
    plan = read_plan(directory)
    assert plan is not None
    assert plan.runs == 0
    assert plan.content == content_of(resolved())


def test_every_kind_of_change_is_an_amendment(directory: StudyDirectory) -> None:
    variants = {"base": {}, "longer": {"train.epochs": 5}, "third": {"train.epochs": 6}}
    other = {**CLAIM, "margin": 0.01}
    changed = resolved(seeds=[0, 1], level=0.9, metric="accuracy", variants=variants, claims=[other])
    assert lock_plan(changed, directory) == [
        "seeds",
        "metric",
        "level",
        "variant changed: longer",
        "variant added: third",
        "claim changed: longer is better",
    ]
    plan = read_plan(directory)
    assert plan is not None
    assert {each.runs for each in plan.amendments} == {2}
    assert [claim.margin for claim in plan.withdrawn] == [None], "as it was, it is tested on"
    assert plan.added_later == {"longer is better"}
    text = [cell.text for row in plan_table(plan, ()).rows for cell in row]
    assert {'{"train": {"epochs": 4}}', '{"train": {"epochs": 5}}'} <= set(text), "only what differs is shown"
    lock_plan(resolved(), directory)
    again = read_plan(directory)
    assert again is not None
    assert [claim.margin for claim in again.withdrawn] == [0.01], "back again, only the other one is withdrawn"


def test_a_claim_in_other_words_is_the_same_claim(directory: StudyDirectory) -> None:
    """Tested once: two wordings of one question would be corrected for as two."""
    reworded = {**CLAIM, "name": "four epochs are better than one"}
    second = {**CLAIM, "name": "base is better", "variants": ["base", "longer"]}
    assert lock_plan(resolved(claims=[reworded, second]), directory) == [
        "claim put into other words: four epochs are better than one",
        "claim added: base is better",
    ]
    plan = read_plan(directory)
    assert plan is not None
    assert plan.withdrawn == []
    assert plan.added_later == {"base is better"}
    assert lock_plan(resolved(claims=[reworded, second]), directory) == []
    lock_plan(resolved(claims=[second]), directory)
    plan = read_plan(directory)
    assert plan is not None
    assert [claim.name for claim in plan.withdrawn] == ["four epochs are better than one"], "and once where it is gone"


def test_a_change_before_any_result_withdraws_nothing(tmp_path: Path) -> None:
    directory = StudyDirectory(tmp_path / "study")
    directory.create()
    lock_plan(resolved(), directory)
    lock_plan(resolved(claims=[]), directory)
    plan = read_plan(directory)
    assert plan is not None
    assert [each.what for each in plan.amendments] == ["claim withdrawn: longer is better"]
    assert plan.withdrawn == []


def test_a_dropped_seed_counts_where_it_came_to_a_result(directory: StudyDirectory) -> None:
    make_run(directory.runs / "longer-seed2", "diverged", name="longer")
    manifest = directory.runs / "longer-seed2/manifest.json"
    manifest.write_text(manifest.read_text().replace("The loss at step 30", "DivergedTraining: the loss at step 30"))
    found = with_dropped(resolved(seeds=[0]), directory, planned)
    names = [run.name for run in found.runs]
    assert names == ["base-seed0", "longer-seed0", "base-seed2", "longer-seed2"], "seed 1 never ran"
    assert found.resolved.study.seeds == [0, 2]
    manifest.unlink()
    assert [run.name for run in with_dropped(resolved(seeds=[0]), directory, planned).runs][2:] == ["base-seed2"]


def test_a_look_counts_once_for_the_same_runs(directory: StudyDirectory) -> None:
    from glotune.run.directory import RunDirectory

    runs = [RunDirectory(directory.runs / name) for name in ("base-seed0", "base-seed2")]
    one, both = evidence_of(runs[:1]), evidence_of(runs)
    assert level_of_look(read_plan(directory), one, 0.95) == pytest.approx(0.96)
    for _ in range(2):
        keep_look(directory, ["base-seed0"], one, 0.96, {"longer is better": "inconclusive"})
    plan = read_plan(directory)
    assert plan is not None
    assert len(plan.looks) == 1
    assert level_of_look(plan, one, 0.95) == pytest.approx(0.96)
    assert level_of_look(plan, both, 0.95) == pytest.approx(0.992)
    assert level_of_next_look(plan, one, 0.95) == pytest.approx(0.992)
    assert level_of_next_look(plan, both, 0.95) == pytest.approx(0.9984)
    assert level_of_next_look(None, both, 0.95) == pytest.approx(0.96), "without a plan no look is kept"
    assert lock_plan(resolved(), directory) == [], "a look that is written down breaks no seal"


def test_a_plan_that_can_t_be_read_is_the_users_mistake(directory: StudyDirectory) -> None:
    directory.plan.write_text("{}")
    with pytest.raises(UserError, match="can't be read as the locked plan"):
        lock_plan(resolved(), directory)
