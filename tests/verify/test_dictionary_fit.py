"""A dictionary that was made for one place of a tiny model fits there, and an off-by-one name is caught."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from surgery.dictionary.dictionary import Dictionary, encode, reconstruct
from surgery.errors import VerifyError
from surgery.hook_point import HookPoint
from surgery.model.language_model import plain_tokens
from surgery.model.residuals import stream_at
from surgery.verify.activations import text_windows
from surgery.verify.dictionary_fit import DictionaryFit, measure_fit, neighbours

TEXTS = [
    "How do I water the fern? First fill the can, then pour it slowly.",
    "apple river stone 0 1 2 3 4 5 6 7 8 9 yes no agree, sorry, I will not explain how to steal a boat",
    "The following are multiple choice questions about colours. A. B. C. D.",
] * 4
RANK = 10


def _made_for(model: Any, point: HookPoint) -> Dictionary:
    """The principal components of the activations at a place, each with both signs, as a ReLU dictionary."""
    rows = np.concatenate(
        [each[1:] for each in stream_at(model, [plain_tokens(model, t) for t in TEXTS], point)]
    )
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:RANK]
    both = np.concatenate([axes, -axes]).astype(np.float32)
    return Dictionary(
        name="made",
        architecture="standard",
        W_enc=both,
        b_enc=np.zeros(2 * RANK, np.float32),
        W_dec=both,
        b_dec=mean.astype(np.float32),
        k=None,
        subtract_b_dec=True,
        hook_point=point,
    )


@pytest.fixture(scope="module")
def windows(tiny_model: Any) -> list[list[int]]:
    return text_windows(tiny_model, TEXTS)


@pytest.mark.parametrize("named", [HookPoint(1, "resid_pre"), HookPoint(0, "resid_post")])
def test_it_fits_where_it_was_made_for_under_either_name(
    tiny_model: Any, windows: Any, named: HookPoint
) -> None:
    made = replace(_made_for(tiny_model, HookPoint(1, "resid_pre")), hook_point=named)
    found = measure_fit(tiny_model, made, windows)
    assert found.fits_model and found.better is None
    assert found.named.point == named
    assert found.named.fvu < 0.9 * min(fit.fvu for fit in found.fits[1:])


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (HookPoint(0, "resid_pre"), HookPoint(0, "resid_post")),
        (HookPoint(1, "resid_post"), HookPoint(1, "resid_pre")),
    ],
)
def test_an_off_by_one_name_is_caught_and_the_right_one_said(
    tiny_model: Any, windows: Any, wrong: HookPoint, right: HookPoint
) -> None:
    made = replace(_made_for(tiny_model, HookPoint(1, "resid_pre")), hook_point=wrong)
    found = measure_fit(tiny_model, made, windows)
    assert found.better is not None and not found.fits_model
    assert found.better.point == right


def test_the_numbers_are_their_definitions(tiny_model: Any, windows: Any) -> None:
    made = _made_for(tiny_model, HookPoint(1, "resid_pre"))
    found = measure_fit(tiny_model, made, windows)
    rows = np.concatenate([each[1:] for each in stream_at(tiny_model, windows, HookPoint(1, "resid_pre"))])
    codes = encode(made, rows)
    error = np.square(rows - reconstruct(made, rows)).sum(dtype=np.float64)
    spread = np.square(rows - rows.mean(axis=0)).sum(dtype=np.float64)
    assert found.tokens == len(rows)
    assert found.named.fvu == pytest.approx(error / spread, rel=1e-4)
    assert found.named.l0 == pytest.approx(np.count_nonzero(codes) / len(rows))
    assert found.named.dead_share == pytest.approx(1 - codes.any(axis=0).mean())
    zero, spliced, clean = found.named.ce_zero, found.named.ce_spliced, found.ce_clean
    if zero > clean:
        assert found.named.loss_recovered == pytest.approx((zero - spliced) / (zero - clean))
    else:
        assert found.named.loss_recovered is None


def test_a_perfect_dictionary_recovers_everything(tiny_model: Any, windows: Any) -> None:
    eye = np.eye(32, dtype=np.float32)
    both = np.concatenate([eye, -eye])
    perfect = replace(
        _made_for(tiny_model, HookPoint(1, "resid_pre")),
        W_enc=both,
        W_dec=both,
        b_enc=np.zeros(64, np.float32),
        b_dec=np.zeros(32, np.float32),
    )
    for point in (HookPoint(1, "resid_pre"), HookPoint(1, "mlp_out"), HookPoint(2, "attn_out")):
        found: DictionaryFit = measure_fit(tiny_model, replace(perfect, hook_point=point), windows)
        assert found.named.fvu < 1e-10
        assert found.named.ce_spliced == pytest.approx(found.ce_clean, abs=1e-5)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (HookPoint(0, "resid_pre"), ["layer 0 resid_post"]),
        (HookPoint(1, "resid_pre"), ["layer 0 resid_pre", "layer 1 resid_post"]),
        (HookPoint(2, "resid_post"), ["layer 2 resid_pre"]),
        (HookPoint(1, "resid_post"), ["layer 1 resid_pre", "layer 2 resid_post"]),
        (HookPoint(1, "mlp_out"), ["layer 0 mlp_out", "layer 2 mlp_out"]),
    ],
)
def test_neighbours_are_one_layer_away(point: HookPoint, expected: list[str]) -> None:
    assert [str(each) for each in neighbours(point, 3)] == expected


def test_what_cannot_be_measured_says_why(tiny_model: Any, windows: Any) -> None:
    made = _made_for(tiny_model, HookPoint(1, "resid_pre"))
    with pytest.raises(VerifyError, match=r"its files say 'hook_z'.*--hook-point resid_post\.20"):
        measure_fit(tiny_model, replace(made, hook_point=None, metadata={"hook_name": "hook_z"}), windows)
    with pytest.raises(VerifyError, match="transcoder"):
        measure_fit(tiny_model, replace(made, is_transcoder=True), windows)
    with pytest.raises(VerifyError, match="d_model 32"):
        measure_fit(tiny_model, replace(made, W_enc=np.zeros((20, 16), np.float32)), windows)
