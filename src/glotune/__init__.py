"""Fine-tune multilingual encoders for text classification, and know what may be believed about the result.

    run = glotune.train("quickstart")
    glotune.load(run.path).predict(["a lovely day"])
    glotune.Classifier("glotune-nano").fit(texts, labels).predict(texts)

Names are imported when first used: ``import glotune`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glotune.recipe.schema import Recipe
    from glotune.verbs.classifier import Classifier
    from glotune.verbs.export.export import export
    from glotune.verbs.predict import load
    from glotune.verbs.train import train

__all__ = ["Classifier", "Recipe", "__version__", "export", "load", "train"]  # noqa: F822 - made by __getattr__

_HOMES = {
    "Classifier": "glotune.verbs.classifier",
    "Recipe": "glotune.recipe.schema",
    "export": "glotune.verbs.export.export",
    "load": "glotune.verbs.predict",
    "train": "glotune.verbs.train",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # costs more than the rest of this module

        return version("glotune")
    if name not in _HOMES:
        raise AttributeError(f"module 'glotune' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
