"""MkDocs calls this while it builds: the reference pages are made then, and never lie in the repository."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from documentation import command_page, recipe_pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the made pages to the written ones."""
    made = {page.place: page.text for page in recipe_pages.pages()} | {command_page.PLACE: command_page.text()}
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    return files
