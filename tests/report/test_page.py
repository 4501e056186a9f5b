from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from types import ModuleType

import pytest

from surgery.report.page import render_page
from surgery.report.report import Report

VOID = {"meta", "input", "br"}
HOSTILE = (
    "</title></style></script></pre>]]>--><script>alert(1)</script><img src=x onerror=alert(2)>"
    "\"' {{ 7*7 }} \x1b[31m\u202e"
)


class Page(HTMLParser):
    """Checks the nesting and keeps tags, attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        assert len(attrs) == len({name for name, _ in attrs}), f"<{tag}> names an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    @property
    def text(self) -> str:
        return " ".join(
            piece for tag, pieces in self.texts.items() if tag not in ("style", "script") for piece in pieces
        )


@pytest.fixture(params=["plain", "failed", "hostile", "unmeasured", "steered"])
def shown(example: ModuleType, request: pytest.FixtureRequest, report: Report, failed: Report) -> Report:
    bare = replace(report.directions[0], selection=None, reconstruction=None, n_train=None)
    return {
        "plain": report,
        "failed": failed,
        "hostile": example.hostile_report(HOSTILE),
        "unmeasured": replace(report, verification=None),
        "steered": replace(
            report,
            directions=(bare,),
            edit=replace(report.edit, n_edits=0, edits=(), proof=None, audit=None, steps=("add x",)),
        ),
    }[str(request.param)]


def test_the_page_is_nested_and_asks_nothing_of_the_network(shown: Report) -> None:
    text = render_page(shown)
    page = Page(text)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form", "img"}
        assert not {"src", "href", "srcset", "action", "style"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in text and "@import" not in text and "http:" not in text and "https:" not in text


def test_the_policy_allows_the_inline_parts_and_nothing_else(shown: Report) -> None:
    page = Page(render_page(shown))
    policy = next(attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    assert policy is not None and policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        for body in page.texts.get(tag, []):
            digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy


def test_foreign_text_is_shown_and_never_acts(example: ModuleType) -> None:
    text = render_page(example.hostile_report(HOSTILE))
    page = Page(text)
    assert text.count("<script>") == 1 and "alert(1)</script>" not in text
    assert "49" not in page.texts["h1"][0] and "{{ 7*7 }}" in page.text
    visible = HOSTILE.replace("\x1b", "⟨U+001B⟩").replace("\u202e", "⟨U+202E⟩")
    assert page.texts["p"].count(visible) >= 3 * len(example.hostile_report("").verification.transcripts)
    assert visible in page.texts["h1"]
    assert "\x1b" not in text and "\u202e" not in text


def test_every_measurement_and_gate_stands_on_the_page(shown: Report) -> None:
    page = Page(render_page(shown))
    if shown.verification is None:
        assert "Nothing was measured" in page.text
        return
    for row in (*shown.verification.rows, *shown.verification.controls):
        assert row.label in page.text
        if row.gate is not None:
            assert row.gate.text in page.text and row.gate.verdict in page.text
    assert "needs n ≥ 180" in page.text
    for each in shown.verification.transcripts:
        assert any(each.item_id[:4] in piece for piece in page.texts["div"])


def test_sides_of_other_items_are_not_joined_and_say_how_many_each_is_of(report: Report) -> None:
    assert report.verification is not None
    rows = [
        replace(row, base=row.edited, n_base=2) if row.label == "on topic, harmful" else row
        for row in report.verification.rows
    ]
    text = render_page(replace(report, verification=replace(report.verification, rows=tuple(rows))))
    assert "n = 2 → 100" in text and "those that name what was asked for" in text
    assert text.count('class="link"') == render_page(report).count('class="link"')


def test_a_failed_gate_is_said_above_the_picture(failed: Report, report: Report) -> None:
    text = render_page(failed)
    assert text.index("A gate failed.") < text.index('class="chart"')
    assert "A gate failed." not in render_page(report)


def test_the_chosen_candidate_and_size_are_marked(report: Report) -> None:
    text = render_page(report)
    assert len(re.findall(r'<rect class="ring"', text)) == 1
    assert len(re.findall(r'<circle class="ring"', text)) == 1
    assert "9 of 18 pass" in text and "layer 4, position −3" in text


def test_without_the_script_every_transcript_is_visible(report: Report) -> None:
    page = Page(render_page(report))
    transcripts = [attributes for tag, attributes in page.tags if tag == "article"]
    assert len(transcripts) == 3 and all("hidden" not in each for each in transcripts)
    search = next(attributes for _, attributes in page.tags if attributes.get("id") == "search")
    assert "hidden" in search


def test_the_page_stays_the_same(report: Report) -> None:
    assert render_page(report) == render_page(report)
