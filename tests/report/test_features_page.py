"""The page of features: everything escaped, every token shaded by its share of the maximum."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from surgery.report.features_page import SHADES, FeaturesReport, feature_parts, render_features_page, shaded
from surgery.verify.portraits import Excerpt, Portrait, TokenScore

EXCERPT = Excerpt(("how", " to", " <script>", "\n"), (0.0, 1.0, 8.0, 4.1))


def _report() -> FeaturesReport:
    portrait = Portrait(
        number=91,
        density=0.02,
        maximum=8.0,
        mean=3.0,
        histogram=(10, 0, 3, 1),
        excerpts=(EXCERPT,),
        promoted=(TokenScore(" no", 1.5),),
        suppressed=(TokenScore("<|end|>", -0.5),),
    )
    silent = replace(portrait, number=624, density=0.0, maximum=0.0, histogram=(0, 0), excerpts=())
    return FeaturesReport(
        dictionary="demo:refuser",
        about="topk",
        model="demo:refuser",
        tokens=1000,
        texts="demo:text",
        direction="refusal <b>",
        summary=("k = 2",),
        agreement=("omp 2 of 2",),
        portraits=(portrait, silent),
        coefficients=(-0.68, 0.34),
        cosines=(-0.66, 0.5),
    )


def test_shades_follow_the_share_of_the_maximum() -> None:
    assert [each.shade for each in shaded(EXCERPT, 8.0)] == [0, 1, SHADES, 5]
    assert [each.text for each in shaded(EXCERPT, 8.0)][-1] == "⏎"
    assert [each.shade for each in shaded(EXCERPT, 0.0)] == [0, 0, 0, 0]


def test_foreign_text_stays_text_and_nothing_is_styled_in_place() -> None:
    page = render_features_page(_report())
    assert "&lt;script&gt;" in page and page.count("<script") == 1
    assert "refusal &lt;b&gt;, in 2 features" in page
    assert 'style="' not in page
    assert "default-src &#39;none&#39;" in page
    assert 'class="a8" title="8.00"' in page
    assert "silent on every token" in page
    assert "omp 2 of 2" in page


def test_the_texts_can_be_searched_by_the_one_script_that_may_run() -> None:
    page = render_features_page(_report())
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None and ".excerpts li" in script[1]
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src &#39;sha256-{digest}&#39;".replace("+", "&#43;") in page.replace("+", "&#43;")
    assert '<input type="search" id="wanted"' in page and 'id="search" hidden' in page


def test_negative_coefficients_point_the_other_way() -> None:
    first, second = feature_parts(_report())
    assert first.bar_x + first.bar_width == pytest.approx(50.0)
    assert second.bar_x == 50.0
    assert second.bar_width == pytest.approx(first.bar_width / 2)
    assert max(bar.height for bar in first.bars) == pytest.approx(64.0)


def test_without_a_direction_there_is_no_code() -> None:
    page = render_features_page(
        replace(_report(), direction=None, coefficients=None, cosines=None, agreement=())
    )
    assert "2 features" in page and "Coefficients are" not in page
