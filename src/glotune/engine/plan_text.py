"""A plan in words: lines for a run's log, rows with their reasons for people who ask."""

from __future__ import annotations

from glotune.run.records import Plan

Rows = list[tuple[str, str]]


def plan_lines(plan: Plan, *, goes_on: bool = False) -> list[str]:
    """What a run says of its plan when it starts; one that goes on has other times before it than the whole run's."""
    lines = [
        f"plan: {plan.device}, {plan.precision}, attention {plan.attention}, {plan.token_budget} tokens in a "
        f"micro-batch, {plan.threads} thread{'s' * (plan.threads != 1)}, "
        f"{plan.ranks} process{'es' if plan.ranks > 1 else ''}"
    ]
    if "prefix_cache" in plan.reasons:
        lines.append(f"plan: frozen prefix: {plan.reasons['prefix_cache']}")
    if "seconds" in plan.wall and not goes_on:
        lines.append(f"expected: {epoch_time(plan)}, {whole_time(plan)}")
    return lines


def plan_rows(plan: Plan) -> Rows:
    """Each choice of a plan with its reason, and what was measured."""
    chosen = {
        "device": plan.device,
        "precision": plan.precision,
        "attention": plan.attention,
        "token_budget": f"{plan.token_budget} tokens",
        "threads": str(plan.threads),
    }
    names = {"token_budget": "micro-batch"}
    rows = [
        (names.get(key, key), f"{value}: {plan.reasons[key]}" if key in plan.reasons else value)
        for key, value in chosen.items()
    ]
    if plan.ranks > 1:
        rows.append(("processes", str(plan.ranks)))
    if "prefix_cache" in plan.reasons:
        rows.append(("frozen prefix", plan.reasons["prefix_cache"]))
    if "bytes_free" in plan.wall:
        rows.append(("memory", memory_use(plan)))
    if "seconds" in plan.wall:
        rows.append(("expected", f"{epoch_time(plan)}, {whole_time(plan)}"))
    return rows


def epoch_time(plan: Plan) -> str:
    """``about 3:20 an epoch (12,300 tokens/s), 0:12 of it for evaluation``."""
    wall = plan.wall
    return (
        f"about {duration(wall['seconds_per_epoch'])} an epoch ({wall['tokens_per_second']:,.0f} tokens/s), "
        f"{duration(wall['evaluation_seconds_per_epoch'])} of it for evaluation"
    )


def whole_time(plan: Plan) -> str:
    """``about 35:10 in all, 1:05 of it to fill the cache of the frozen prefix``."""
    filling = plan.wall["cache_seconds"]
    cache = f", at most {duration(filling)} of it to fill the cache of the frozen prefix" if filling else ""
    return f"about {duration(plan.wall['seconds'])} in all{cache}"


def time_left(plan: Plan, step: int, steps: int) -> str:
    """``, about 3:10 left`` after `step` of `steps`; nothing where the plan expects no time, or none is left."""
    if "seconds" not in plan.wall or step >= steps:
        return ""
    return f", about {duration(plan.wall['seconds'] * (1 - step / steps))} left"


def memory_use(plan: Plan) -> str:
    """What training takes beside the weights, of what is free."""
    wall = plan.wall
    asked = wall["bytes_held"] + wall["bytes_per_token"] * plan.token_budget
    return (
        f"{size(asked)} of {size(wall['bytes_free'])} free: {size(wall['bytes_held'])} for gradients and "
        f"moments, {size(wall['bytes_per_token'])} for each token of a micro-batch"
    )


def duration(seconds: float) -> str:
    """``1:05:09``, ``5:09``, or ``4.2 s`` for what takes less than ten seconds."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    hours, minutes = divmod(round(seconds) // 60, 60)
    return f"{hours}:{minutes:02}:{round(seconds) % 60:02}" if hours else f"{minutes}:{round(seconds) % 60:02}"


def size(count: float) -> str:
    """``1.2 GB``, ``3.4 MB`` or ``56 kB``."""
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1e3:.0f} kB"
