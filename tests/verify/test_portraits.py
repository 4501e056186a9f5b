"""What a feature responds to, against a slow search over the same tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from surgery.dictionary.dictionary import Dictionary, encode
from surgery.errors import VerifyError
from surgery.hook_point import HookPoint
from surgery.model.residuals import stream_at
from surgery.verify.activations import observe, text_windows
from surgery.verify.portraits import BINS, portray_features

TEXTS = [f"apple river stone {n} yes no agree, water the fern {n * n} slowly" for n in range(70)]
POINT = HookPoint(1, "resid_pre")


@pytest.fixture(scope="module")
def made() -> Dictionary:
    rows = np.random.default_rng(0).standard_normal((40, 32)).astype(np.float32)
    return Dictionary(
        name="made",
        architecture="topk",
        W_enc=rows,
        b_enc=np.zeros(40, np.float32),
        W_dec=rows,
        b_dec=np.zeros(32, np.float32),
        k=5,
        subtract_b_dec=True,
        hook_point=POINT,
    )


def test_density_excerpts_and_histogram_are_those_of_all_tokens(
    tiny_model: Any, made: Dictionary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("surgery.verify.portraits._EXCERPTS", 4)
    windows = text_windows(tiny_model, TEXTS)
    found = portray_features(tiny_model, made, [3, 17], windows)
    codes = [encode(made, each) for each in stream_at(tiny_model, windows, POINT)]
    for each in codes:
        each[0] = 0.0
    for portrait in found.features:
        column = np.concatenate([each[1:, portrait.number] for each in codes])
        assert found.tokens == len(column)
        assert portrait.density == pytest.approx((column > 0).mean())
        assert portrait.maximum == pytest.approx(float(column.max()), rel=1e-5)
        assert sum(portrait.histogram) == int((column > 0).sum())
        assert len(portrait.histogram) == BINS
        strongest = sorted((float(each[:, portrait.number].max()) for each in codes), reverse=True)[:4]
        assert [each.strongest for each in portrait.excerpts] == pytest.approx(strongest, rel=1e-5)
        assert all(len(each.tokens) == len(each.activations) for each in portrait.excerpts)


def test_the_lens_is_the_unembedding_of_the_normed_row(tiny_model: Any, made: Dictionary) -> None:
    import torch

    (portrait,) = portray_features(tiny_model, made, [5], text_windows(tiny_model, TEXTS[:2])).features
    row = torch.from_numpy(made.W_dec[5] / np.linalg.norm(made.W_dec[5]))
    network = tiny_model.network
    with torch.inference_mode():
        logits = network.lm_head(network.model.norm(row * 32**0.5)) / 32**0.5
    logits = (logits - logits.mean()).numpy()
    assert portrait.promoted[0].score == pytest.approx(float(logits.max()), rel=1e-4)
    assert portrait.suppressed[0].score == pytest.approx(float(logits.min()), rel=1e-4)
    assert portrait.promoted[0].token == tiny_model.tokenizer.decode([int(logits.argmax())])


def test_a_transcoder_s_features_are_looked_for_where_it_reads(tiny_model: Any, made: Dictionary) -> None:
    transcoder = replace(made, hook_point=HookPoint(1, "mlp_in"), is_transcoder=True, subtract_b_dec=False)
    windows = text_windows(tiny_model, TEXTS[:3])
    (portrait,) = portray_features(tiny_model, transcoder, [3], windows).features
    (seen,) = observe(tiny_model, windows, [HookPoint(1, "mlp_in")])
    column = encode(transcoder, seen.activations[0][seen.counted])[:, 3]
    assert portrait.maximum == pytest.approx(float(column.max()), rel=1e-5)
    assert portrait.density == pytest.approx((column > 0).mean())
    with pytest.raises(VerifyError, match=r"--hook-point mlp_in\.20"):
        portray_features(tiny_model, replace(transcoder, hook_point=None), [3], windows)


def test_a_feature_that_is_not_there_is_refused(tiny_model: Any, made: Dictionary) -> None:
    with pytest.raises(VerifyError, match="features 0 to 39, and not 40"):
        portray_features(tiny_model, made, [40], text_windows(tiny_model, TEXTS[:1]))


def test_windows_stop_at_the_number_asked_for(tiny_model: Any) -> None:
    windows = text_windows(tiny_model, TEXTS, at_most=50)
    assert sum(map(len, windows)) in (49, 50)
    with pytest.raises(VerifyError, match="too short"):
        text_windows(tiny_model, [""])
