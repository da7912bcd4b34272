"""MkDocs calls this while it builds: the reference pages are made then; the repository holds stand-ins."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from documentation import command_page, recipe_pages

LOADED = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*\ssrc=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?![^>]*rel=["']?canonical)[^>]*\shref=["']?(?:https?:)?//[^"'\s>]+"""
)
"""A tag that makes the browser fetch something from another place; plain links (<a>) don't."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Puts the made pages in the place of the written ones, which tell a reader of the repository where they are."""
    made = {page.place: page.text for page in recipe_pages.pages()} | {command_page.PLACE: command_page.text()}
    for place, text in made.items():
        stand_in = files.get_file_from_path(place)
        if stand_in is None:
            raise PluginError(f"docs/{place} is missing: links to it would lead nowhere outside the site")
        files.remove(stand_in)
        files.append(File.generated(config, place, content=text))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Refuses a site that would load anything from outside when it is read.

    Raises:
        PluginError: with the page and the tag.
    """
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        found = outside(page.read_text(encoding="utf-8"))
        if found is not None:
            raise PluginError(f"{page}: loads from outside: {found}")


def outside(html: str) -> str | None:
    """The first tag of a page that loads from another place."""
    found = LOADED.search(html)
    return None if found is None else found.group()
