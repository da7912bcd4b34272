"""KEY=VALUE arguments on the command line, and what is not meant to be one."""

from __future__ import annotations

import typer


def refuse_options(context: typer.Context, given: list[str] | None) -> list[str] | None:
    """Refuses ``out=runs/x``, an option of this command typed as a recipe key; a typer callback.

    Only what is no top-level recipe key is taken for an option, and only options that the command has.

    Raises:
        UserError: with the options as they are to be typed.
    """
    from glotune.errors import UserError, nearest
    from glotune.recipe import Recipe
    from glotune.recipe.pretrain import PretrainRecipe

    flags = {
        name.lstrip("-").replace("-", "_"): (name, bool(getattr(option, "is_flag", False)))
        for option in context.command.params
        for name in option.opts
        if name.startswith("--") and name != "--help"
    }
    keys = {*Recipe.model_fields, *PretrainRecipe.model_fields}
    meant = []
    for override in given or []:
        key, equals, value = (part.strip() for part in override.partition("="))
        near = nearest(key, [*flags, *keys]) if equals and "." not in key and key not in keys else None
        if near in flags:
            option, is_flag = flags[near]
            meant.append((override, option if is_flag else f"{option} {value}".rstrip()))
    if meant:
        found = ", ".join(f"'{override}'" for override, _ in meant)
        raise UserError(
            f"{found} names no recipe key" if len(meant) == 1 else f"{found} name no recipe keys",
            remedy=f"Did you mean {' '.join(option for _, option in meant)}?",
        )
    return given
