"""A Hub name where there is no network: told at once, not after a minute of attempts."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from glotune.errors import UserError
from glotune.model import sources
from glotune.recipe.schema import Model


@pytest.fixture
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(sources, "getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("no_address")
def test_without_an_address_the_name_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"neither a folder here nor.*Did you mean 'FacebookAI/xlm-roberta-base'"):
        sources.locate(Model(name="xlm-roberta-bsae"))


@pytest.mark.usefixtures("no_address")
def test_a_model_that_is_kept_needs_no_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *names, **options: str(tmp_path))
    assert sources.locate(Model(name="some/model")) == "some/model"


@pytest.mark.usefixtures("no_address")
def test_behind_a_proxy_the_client_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "getproxies", lambda: {"https": "proxy:3128"})
    assert sources.locate(Model(name="some/model")) == "some/model"


@pytest.mark.usefixtures("no_address")
def test_a_name_that_is_right_is_not_corrected_but_ways_without_a_hub_are_named() -> None:
    with pytest.raises(
        UserError, match=r"can't be had from the Hub.*model\.name=glotune-nano model\.layers=null"
    ) as told:
        sources.locate(Model(name="FacebookAI/xlm-roberta-base"))
    assert "Did you mean" not in str(told.value)
