"""What a study can show, told before its first run (``glotune study NAME --plan``)."""

from __future__ import annotations

from glotune.errors import UserError
from glotune.recipe.study_loading import ResolvedStudy
from glotune.stats.power import planned_difference, seeds_for
from glotune.study.locked_plan import SPENT
from glotune.study.search import about

SPREADS = (0.005, 0.01, 0.02)
"""Standard deviations over seeds that are reckoned with: fine-tuned encoders mostly scatter by 0.5 to 2 points."""
USUAL = 0.01
DISAGREEMENT = 0.1
"""Share of the texts that two models of the same quality answer differently, where nothing is known yet."""
ASKED = 0.02
"""The difference that a study is asked about: 2 points."""


def plan_lines(resolved: ResolvedStudy) -> list[str]:
    """How many runs the study has, what difference its seeds can show, and how many show 2 points."""
    study, seeds, texts = resolved.study, len(resolved.study.seeds), _test_texts(resolved)
    variants = len(resolved.variants) if study.search is None else 2
    runs = variants * seeds * (study.folds or 1)
    lines = [
        f"{variants} variants, {seeds} seed{'s' * (seeds > 1)} each"
        + (f", {study.folds} folds" if study.folds else "")
        + f": {runs} runs"
    ]
    if study.search is not None:
        lines = [*about(resolved), *lines]
    if variants < 2:
        return lines
    variance = DISAGREEMENT / texts if texts else 0.0
    error = (1.0 - study.level) * (SPENT / len(study.claims) if study.claims else 1.0)  # claims: at the first look
    reckoned = (
        f"seeds that scatter by {100 * USUAL:g} point"
        + (f", {texts:,} test texts" if texts else ", texts that can't be read yet not counted")
        + (f", {len(study.claims)} claims corrected together" if len(study.claims) > 1 else "")
    )
    if seeds < 2:
        lines.append("One seed of each variant shows no difference: nothing is tested")
    else:
        shown = [100 * planned_difference(seeds, spread, variance, 1.0 - error) for spread in SPREADS]
        lines.append(
            f"{seeds} seeds can show a difference of {shown[1]:.1f} points with a chance of 80 % ({reckoned}); "
            f"{shown[0]:.1f} points where seeds scatter by {100 * SPREADS[0]:g}, {shown[2]:.1f} where by "
            f"{100 * SPREADS[2]:g}"
        )
    return [*lines, _asked(seeds, seeds_for(ASKED, USUAL, variance, 1.0 - error))]


def _asked(seeds: int, needed: int | None) -> str:
    points = f"{100 * ASKED:g} points"
    if needed is None:
        return f"{points}: no number of seeds can show them on so few test texts"
    if needed <= seeds:
        return f"{points}: these seeds can show them"
    return f"{points}: {seeds} seed{'s' * (seeds > 1)} can't show them, {needed} of each variant can: --seeds {needed}"


def _test_texts(resolved: ResolvedStudy) -> int | None:
    """Texts that are tested; None where the texts can't be read yet."""
    from glotune.data.reading import read_texts

    recipe = next(iter(resolved.variants.values()))
    try:
        texts = read_texts(recipe.data, recipe.seed, recipe.task)
    except UserError:
        return None
    found = texts.splits.get("train" if resolved.study.folds else "test", texts.splits["validation"])
    return len(found)
