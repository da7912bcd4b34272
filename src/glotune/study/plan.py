"""Which runs a study consists of: every variant with every seed, on every fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from glotune.data.texts import TextData
from glotune.errors import UserError, did_you_mean
from glotune.evidence.claim_evidence import check_claim, is_ratio
from glotune.evidence.claims import SEEDS_TO_START, Claim
from glotune.recipe import Recipe, load_recipe, recipe_hash, recipe_yaml
from glotune.recipe.kinds import KINDS, Kind
from glotune.recipe.study import StudyClaim
from glotune.recipe.study_loading import ResolvedStudy
from glotune.run.directory import RunDirectory, write_atomically
from glotune.stats.traits import trait
from glotune.study.directory import StudyDirectory
from glotune.study.folds import FoldFile, fold_file
from glotune.words import named

GROUPS = ("targets", "source", "all")
"""Languages that a claim may name together."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    name: str
    """``VARIANT-seedN``, or ``VARIANT-seedN-foldK``: its folder."""
    variant: str
    seed: int
    fold: int | None
    recipe: Recipe


@dataclass(frozen=True)
class StudyPlan:
    """Everything that is to be trained."""

    resolved: ResolvedStudy
    runs: tuple[PlannedRun, ...]
    fold_files: dict[str, FoldFile]
    """Variant -> its folds; empty without cross-validation."""

    def of(self, variant: str, seed: int) -> list[PlannedRun]:
        """The runs of one variant and seed: one, or one for each fold."""
        return [run for run in self.runs if run.variant == variant and run.seed == seed]


def plan_runs(resolved: ResolvedStudy, directory: StudyDirectory) -> StudyPlan:
    """Lists the runs, seeds outermost, so that an unfinished study has whole seeds; writes the fold files.

    Raises:
        UserError: texts that can't be cut into folds.
    """
    study, files = resolved.study, {}
    if study.folds is not None:
        for name, recipe in resolved.variants.items():
            files[name] = fold_file(recipe, study.folds, study.fold_seed, directory.folds)
    return StudyPlan(resolved, list_runs(resolved, lambda name, seeded, fold: files[name].recipe(seeded, fold)), files)


def refuse_unanswerable(resolved: ResolvedStudy) -> None:
    """What would be missed only once all runs are trained: metrics that none of them has, claims that can't be tested.

    Raises:
        UserError: a metric that does not exist or is no score of these tasks, or as `check_claim`.
    """
    study = resolved.study
    kinds = list({recipe.task: KINDS[recipe.task] for recipe in resolved.variants.values()}.values())
    trait(study.metric)
    _refuse_other_task(study.metric, kinds)
    for stated in study.claims:
        claim = as_claim(stated)
        check_claim(claim, stated.variants)
        if not is_ratio(claim):
            _refuse_other_task(claim.base_metric, kinds, of_one=True)


def _refuse_other_task(metric: str, kinds: Sequence[Kind], *, of_one: bool = False) -> None:
    """Refuses what no run of these tasks has; `of_one`: scores of one class or label may be asked too."""
    known = [name for kind in kinds for name in (*kind.scored, *(kind.of_one if of_one else ()))]
    if metric not in known:
        raise UserError(
            f"the metric {metric} is no score of the task {kinds[0].name}",
            expected=f"one of {', '.join(known)}",
            remedy=f"Set metric: {kinds[0].metric} in the study, and in its claims",
        )


def list_runs(resolved: ResolvedStudy, of_fold: Callable[[str, Recipe, int], Recipe]) -> tuple[PlannedRun, ...]:
    """Every variant with every seed, on every fold.

    Args:
        of_fold: (variant, recipe with its seed, fold from 1) -> the recipe of that fold.
    """
    runs = []
    for seed in resolved.study.seeds:
        for name, recipe in resolved.variants.items():
            seeded = load_recipe(recipe, {"seed": seed})
            if resolved.study.folds is None:
                runs.append(PlannedRun(f"{name}-seed{seed}", name, seed, None, seeded))
                continue
            for fold in range(1, resolved.study.folds + 1):
                one = of_fold(name, seeded, fold)
                runs.append(PlannedRun(f"{name}-seed{seed}-fold{fold}", name, seed, fold, one))
    return tuple(runs)


def write_recipes(plan: StudyPlan, directory: StudyDirectory) -> None:
    """Writes one recipe file for each run; runs that exist must have been trained by the same recipe.

    Raises:
        UserError: runs of another recipe stand in this folder.
    """
    changed = [run.name for run in plan.runs if _differs(run, directory)]
    if changed:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise UserError(
            f"{directory.path} holds {len(changed)} run{'s' if len(changed) > 1 else ''} of another recipe ({shown})",
            expected="the study that the folder was made for (more seeds and variants may join it)",
            remedy="Name another folder with --out, or delete those runs",
        )
    for run in plan.runs:
        path = directory.recipes / f"{run.name}.yaml"
        text = recipe_yaml(run.recipe)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)


def _differs(run: PlannedRun, directory: StudyDirectory) -> bool:
    """Whether the run's folder was made by a recipe that can give other numbers."""
    path = directory.recipes / f"{run.name}.yaml"
    if not RunDirectory(directory.runs / run.name).manifest_path.exists() or not path.exists():
        return False
    try:
        return recipe_hash(load_recipe(path)) != recipe_hash(run.recipe)
    except UserError:
        return True


def few_seeds(resolved: ResolvedStudy) -> str | None:
    """What a study of so few seeds can't show, where it compares anything; None for enough of them."""
    study, seeds = resolved.study, len(resolved.study.seeds)
    if seeds >= SEEDS_TO_START or (len(resolved.variants) < 2 and not study.claims):
        return None
    lacks = (
        "no interval over seeds, and no claim is tested"
        if seeds == 1
        else "an interval over two seeds is several times as wide as one over five, so that hardly any claim is settled"
    )
    return (
        f"{seeds} seed{'s' * (seeds > 1)} for each variant can't tell a difference from chance: {lacks}. Set seeds "
        f"to at least {SEEDS_TO_START}, better 5 (--seeds 5); seeds that are trained already are kept"
    )


def as_claim(claim: StudyClaim) -> Claim:
    """A claim of a study's file, to be tested."""
    return Claim(claim.name, claim.form, claim.metric, claim.margin)


def check_texts(recipes: Iterable[Recipe], *, need_test: bool = False, claims: Sequence[StudyClaim] = ()) -> list[str]:
    """Reads the texts of every distinct ``data`` section before the first run, so that a mistake shows at once.

    Args:
        claims: held against the labels and the languages of the texts.
        need_test: whether test texts must be there, because validation texts are used up by a search.

    Returns:
        the warnings, each once.

    Raises:
        UserError: as `glotune.data.reading.read_texts`; pipes; no test texts; validation texts that can't choose
            the checkpoint; unlabelled texts that the runs are judged by; a claim about a class or a language that the
            texts lack.
    """
    from glotune.data.reading import read_texts
    from glotune.data.streams import refuse_streams
    from glotune.tasks.monitoring import refuse_unused_validation
    from glotune.verbs.self_training import open_rounds

    seen: set[str] = set()
    warnings: dict[str, None] = {}
    for recipe in recipes:
        key = f"{recipe.evaluate.on} {recipe.evaluate.metric} {recipe.data.model_dump_json()}"
        if key not in seen:
            seen.add(key)
            refuse_streams(recipe.data, "a study")
            texts = read_texts(recipe.data, recipe.seed, recipe.task)
            refuse_unused_validation(recipe.evaluate, texts)
            for claim in claims:
                check_claim(as_claim(claim), claim.variants, len(texts.labels))
                _refuse_unread_language(claim, texts)
            if need_test and "test" not in texts.splits:
                raise UserError(
                    "a search without test texts: what it finds was chosen by validation, whose score is too good then",
                    where="data.test",
                    expected="texts that the search never sees",
                    remedy="Name some with data.test=FILE, or keep some back: data.made_splits.test=0.2",
                )
            rounds = open_rounds(recipe, texts)
            warnings.update(dict.fromkeys([*texts.warnings, *([] if rounds is None else rounds.record.warnings)]))
    return list(warnings)


def _refuse_unread_language(claim: StudyClaim, texts: TextData) -> None:
    read = sorted({code for split in texts.splits.values() for code in split.language_names})
    if claim.language is not None and claim.language not in (*GROUPS, *read):
        raise UserError(
            f"no text is in {named(claim.language)}",
            where=f"claim '{claim.name}', language",
            expected=f"one of {', '.join(read)}, or {', '.join(GROUPS)}",
            remedy=did_you_mean(claim.language, read),
        )
