"""report.html: one page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from glotune.report.content import ReportContent
from glotune.report.markdown import TEMPLATES, environment
from glotune.report.payload import as_script, page_payload

SCRIPTS = ("elements.js", "charts.js", "tables.js", "page.js")


def render_page(contents: Sequence[ReportContent], title: str, tables: Sequence[dict[str, Any]] = ()) -> str:
    """The page of one run or of several.

    The content security policy allows this page's own script and style by their hashes and nothing else: no request
    can leave it, whatever the texts hold.
    """
    script = "\n".join(_read(name) for name in SCRIPTS)
    style = _read("page.css")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src 'sha256-{_hash(script)}'",
            f"style-src 'sha256-{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    template = environment().get_template("page.html.j2")
    return template.render(
        title=Markup.escape(title),
        policy=policy,
        style=style,
        script=script,
        data=as_script(page_payload(contents, title, tables)),
        headline=Markup.escape(contents[0].headline if len(contents) == 1 else f"{len(contents)} runs"),
    )


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
