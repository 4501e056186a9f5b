"""report.html: one file that asks nothing of the network and runs nothing that a model or a recipe wrote.

Everything is escaped by the template engine; the content security policy allows the page's one style sheet
and one script by their sha256 and nothing else, so that no text could load or run anything even if it
escaped its place.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from inspect import isfunction
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from surgery.report import numbers, statements
from surgery.report.comparison import axes
from surgery.report.portraits import curve, heat_map
from surgery.report.report import Report
from surgery.report.text import visible

TEMPLATES = Path(__file__).parent / "templates"
NUMBERS = {name: each for name, each in vars(numbers).items() if isfunction(each) and name[0] != "_"}
"""What templates write numbers with."""


def render_page(report: Report) -> str:
    """The whole page as HTML."""
    style, script = _asset("report.css"), _asset("search.js")
    measured = report.verification
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            say=statements,
            style=Markup(style),
            script=Markup(script),
            policy=content_policy(style, script),
            axes=axes(measured.rows, measured.controls) if measured else (),
        )
    )


def content_policy(style: str, script: str) -> str:
    """The content security policy that allows exactly this style sheet and this script."""
    allowed = "; ".join([f"style-src {_source(style)}", f"script-src {_source(script)}"])
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


@cache
def environment() -> Environment:
    """The template engine: everything escaped, nothing undefined accepted."""
    loader = FileSystemLoader(TEMPLATES, encoding="utf-8")
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.globals.update(NUMBERS, heat_map=heat_map, curve=curve)
    return made


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
