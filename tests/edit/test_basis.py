"""What a tensor is projected with where a short convolution stands between it and the stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.edit.basis import Basis, tensor_basis
from surgery.edit.plan import make_plan
from surgery.errors import EditError
from surgery.model.anatomy import Gain, read_anatomy
from surgery.model.gains import read_factors
from surgery.model.twin import build_twin
from surgery.recipe.editing import Ablate

O_PROJ = "model.layers.0.self_attn.o_proj.weight"
CONVOLUTION = "model.layers.0.attn_sconv.conv1d.weight"
DIRECTIONS = np.random.default_rng(0).standard_normal((2, 32))


def _twin(folder: Path) -> Path:
    return build_twin({"model_type": "inkling_text"}, folder, seed=0)


def _basis(source: Checkpoint, *strengths: float) -> Basis:
    vectors = {f"r{index}": DIRECTIONS[index] for index in range(len(strengths))}
    steps = [Ablate(ablate=name, strength=each) for name, each in zip(vectors, strengths, strict=True)]
    plan = make_plan(source, read_anatomy(source.config, source.shapes), steps, vectors)
    return tensor_basis(next(edit for edit in plan.edits if edit.tensor == O_PROJ), plan, source)


def _rewrite(folder: Path, taps: dict[int, float]) -> Checkpoint:
    """Each of these taps as the first one times a number."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for index, factor in taps.items():
        tensors[CONVOLUTION][:, 0, index] = factor * tensors[CONVOLUTION][:, 0, 0]
    save_file(tensors, path, metadata={"format": "pt"})
    return open_checkpoint(folder)


def test_every_tap_of_a_convolution_is_taken_out_with_the_strength_of_its_direction(tmp_path: Path) -> None:
    source = open_checkpoint(_twin(tmp_path / "t"))
    basis = _basis(source, 0.5, 1.0)
    taps = load_file(tmp_path / "t" / "model.safetensors")[CONVOLUTION][:, 0].double().numpy().T
    taps[-1] += 1  # the convolution is added to its input
    np.testing.assert_allclose(read_factors(Gain(CONVOLUTION, 1.0, taps=True), source), taps)
    assert basis.rows.shape == (8, 32) and basis.strengths == (0.5,) * 4 + (1.0,) * 4
    np.testing.assert_allclose(basis.rows @ basis.rows.T, np.eye(8), atol=1e-12)
    carried = taps * DIRECTIONS[0]
    np.testing.assert_allclose(carried @ basis.rows[:4].T @ basis.rows[:4], carried, atol=1e-12)
    second = taps * DIRECTIONS[1]
    np.testing.assert_allclose(second @ basis.rows.T @ basis.rows, second, atol=1e-12)


@pytest.mark.parametrize("taps", [{1: 0.0}, {1: 1.0}, {1: -2.5}])
def test_a_tap_that_adds_nothing_new_is_left_out(taps: dict[int, float], tmp_path: Path) -> None:
    assert _basis(_rewrite(_twin(tmp_path / "t"), taps), 1.0).rows.shape == (3, 32)


def test_a_tap_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        EditError, match=r"attn_sconv\.conv1d\.weight\) passes nothing of 'r0' or is not finite"
    ):
        _basis(_rewrite(_twin(tmp_path / "t"), {1: float("nan")}), 1.0)
