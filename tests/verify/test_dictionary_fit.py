"""A dictionary that was made for one place of a tiny model fits there, and an off-by-one name is caught."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from surgery.dictionary.dictionary import Dictionary, encode, reconstruct
from surgery.errors import AnatomyError, VerifyError
from surgery.hook_point import HookPoint
from surgery.model.language_model import plain_tokens
from surgery.model.residuals import stream_at
from surgery.verify.activations import text_windows
from surgery.verify.dictionary_fit import DictionaryFit, measure_fit

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


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (HookPoint(0, "resid_pre"), HookPoint(2, "resid_pre")),
        (HookPoint(2, "resid_post"), HookPoint(0, "resid_post")),
    ],
)
def test_a_dictionary_of_a_layer_farther_away_is_found_there(
    tiny_model: Any, windows: Any, wrong: HookPoint, right: HookPoint
) -> None:
    made = _made_for(tiny_model, right)
    found = measure_fit(tiny_model, replace(made, hook_point=wrong), windows)
    assert found.better is not None and found.better == found.fits[-1]
    assert found.better.point.same_stream(right)
    assert found.better.fvu == pytest.approx(measure_fit(tiny_model, made, windows).named.fvu)


def test_a_place_that_it_does_not_fit_either_is_no_better_one(tiny_model: Any, windows: Any) -> None:
    noise = np.random.default_rng(0).standard_normal((40, 32)).astype(np.float32)
    made = replace(
        _made_for(tiny_model, HookPoint(1, "resid_pre")), W_enc=noise, W_dec=noise, b_enc=np.zeros(40, "f4")
    )
    found = measure_fit(tiny_model, made, windows)
    assert min(fit.fvu for fit in found.fits) > 1
    assert found.better is None and not found.fits_model


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
    points = [HookPoint(1, "resid_pre"), HookPoint(1, "mlp_out"), HookPoint(2, "attn_out")]
    for point in (*points, HookPoint(1, "resid_mid"), HookPoint(2, "mlp_in")):
        found: DictionaryFit = measure_fit(tiny_model, replace(perfect, hook_point=point), windows)
        assert found.named.fvu < 1e-10
        assert found.named.ce_spliced == pytest.approx(found.ce_clean, abs=1e-5)


def _transcoder(model: Any, layer: int, *, skip: bool) -> tuple[Dictionary, dict[str, np.ndarray]]:
    """The MLP's least-squares map as a ReLU dictionary of both signs, or as a skip beside small noise."""
    taken = _mlp_rows(model, layer)
    offset = taken["out"].mean(axis=0)
    linear = np.linalg.lstsq(taken["in"], taken["out"] - offset, rcond=None)[0].astype(np.float32)
    eye, noise = np.eye(32, dtype=np.float32), np.random.default_rng(0).standard_normal((64, 32))
    made = Dictionary(
        name="made",
        architecture="standard",
        W_enc=np.concatenate([eye, -eye]),
        b_enc=np.zeros(64, np.float32),
        W_dec=(1e-3 * noise).astype(np.float32) if skip else np.concatenate([linear, -linear]),
        b_dec=offset.astype(np.float32),
        k=None,
        subtract_b_dec=False,
        hook_point=HookPoint(layer, "mlp_in"),
        W_skip=linear.T if skip else None,
        is_transcoder=True,
        output_point=HookPoint(layer, "mlp_out"),
    )
    return made, taken


def _mlp_rows(model: Any, layer: int) -> dict[str, np.ndarray]:
    """What the MLP of a layer reads and writes at every counted token, taken with plain torch hooks."""
    import torch

    taken: dict[str, list[np.ndarray]] = {"in": [], "out": []}

    def keep(_: Any, args: Any, output: Any) -> None:
        taken["in"].append(args[0][0, 1:].numpy())
        taken["out"].append(output[0, 1:].numpy())

    handle = model.network.model.layers[layer].mlp.register_forward_hook(keep)
    with torch.inference_mode():
        for window in text_windows(model, TEXTS):
            model.network(torch.tensor([window]))
    handle.remove()
    return {name: np.concatenate(rows) for name, rows in taken.items()}


@pytest.mark.parametrize("skip", [False, True])
def test_a_transcoder_is_measured_at_what_it_writes(tiny_model: Any, windows: Any, skip: bool) -> None:
    made, taken = _transcoder(tiny_model, 1, skip=skip)
    found = measure_fit(tiny_model, made, windows)
    assert (found.named.point, found.named.output_point) == (HookPoint(1, "mlp_in"), HookPoint(1, "mlp_out"))
    across, *beside = found.fits[1:]
    assert (across.point, across.output_point) == (HookPoint(1, "mlp_normalized"), HookPoint(1, "mlp_out"))
    assert [fit.output_point for fit in beside] == [HookPoint(0, "mlp_out"), HookPoint(2, "mlp_out")]
    output = reconstruct(made, taken["in"])
    error = np.square(taken["out"] - output).sum(dtype=np.float64)
    spread = np.square(taken["out"] - taken["out"].mean(axis=0)).sum(dtype=np.float64)
    assert found.tokens == len(taken["in"])
    assert found.named.fvu == pytest.approx(error / spread, rel=1e-3)
    assert found.fits_model and found.named.fvu < 0.9
    off = replace(made, hook_point=HookPoint(2, "mlp_in"), output_point=HookPoint(2, "mlp_out"))
    better = measure_fit(tiny_model, off, windows).better
    assert better is not None and better.output_point == HookPoint(1, "mlp_out")


def test_a_transcoder_that_reads_before_the_gain_is_told_from_one_behind_it(
    tiny_model: Any, windows: Any
) -> None:
    import torch

    norm = tiny_model.network.model.layers[1].post_attention_layernorm
    gain = norm.weight.detach().clone()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.2, 3.0, 32))
    try:
        behind, _ = _transcoder(tiny_model, 1, skip=False)
        before = replace(
            behind,
            W_enc=behind.W_enc * norm.weight.detach().numpy(),
            hook_point=HookPoint(1, "mlp_normalized"),
        )
        found, plain = (measure_fit(tiny_model, each, windows) for each in (before, behind))
        swapped = measure_fit(tiny_model, replace(before, hook_point=HookPoint(1, "mlp_in")), windows)
    finally:
        with torch.no_grad():
            norm.weight.copy_(gain)
    assert found.named.fvu == pytest.approx(plain.named.fvu, rel=1e-4)
    assert found.named.ce_spliced == pytest.approx(plain.named.ce_spliced, rel=1e-5)
    assert found.fits_model and swapped.better is not None
    assert swapped.better.point == HookPoint(1, "mlp_normalized")


def test_a_transcoder_is_spliced_in_where_it_writes(tiny_model: Any, windows: Any) -> None:
    """One tensor under two names makes a perfect transcoder of the identity; zeros in it are zeros there."""
    eye = np.eye(32, dtype=np.float32)
    both, zeros = np.concatenate([eye, -eye]), np.zeros(64, np.float32)
    perfect = replace(
        _made_for(tiny_model, HookPoint(1, "resid_pre")),
        W_enc=both, W_dec=both, b_enc=zeros, b_dec=zeros[:32], subtract_b_dec=False, is_transcoder=True,
    )  # fmt: skip
    plain = measure_fit(tiny_model, replace(perfect, is_transcoder=False), windows)
    renamed = replace(perfect, hook_point=HookPoint(0, "resid_post"), output_point=HookPoint(1, "resid_pre"))
    found = measure_fit(tiny_model, renamed, windows)
    assert found.named.fvu < 1e-10
    assert found.named.ce_spliced == pytest.approx(found.ce_clean, abs=1e-5)
    assert found.named.ce_zero == pytest.approx(plain.named.ce_zero, abs=1e-5)


def test_what_cannot_be_measured_says_why(tiny_model: Any, windows: Any) -> None:
    made = _made_for(tiny_model, HookPoint(1, "resid_pre"))
    with pytest.raises(VerifyError, match=r"its files say 'hook_z'.*--hook-point resid_post\.20"):
        measure_fit(tiny_model, replace(made, hook_point=None, metadata={"hook_name": "hook_z"}), windows)
    silent = replace(made, is_transcoder=True, metadata={"hook_name_out": "mlp.hook_out"})
    with pytest.raises(VerifyError, match=r"'mlp\.hook_out'.*--output-point mlp_out\.1"):
        measure_fit(tiny_model, silent, windows)
    narrow = replace(silent, W_dec=np.zeros((20, 16), np.float32), output_point=HookPoint(1, "mlp_out"))
    with pytest.raises(VerifyError, match="writes 16 numbers"):
        measure_fit(tiny_model, narrow, windows)
    with pytest.raises(AnatomyError, match="layers 0 to 2"):
        measure_fit(tiny_model, replace(made, hook_point=HookPoint(3, "resid_mid")), windows)
    with pytest.raises(VerifyError, match="d_model 32"):
        measure_fit(tiny_model, replace(made, W_enc=np.zeros((20, 16), np.float32)), windows)
