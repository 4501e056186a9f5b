"""The numbers of a changed tensor, against the whole tensors in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from surgery.checkpoint import pair as pair_module
from surgery.checkpoint.header import read_header
from surgery.checkpoint.pair import Slot
from surgery.compare.measure import measure, view_of
from surgery.compare.pairing import Pair
from surgery.compare.precision import cast_type


def _pair(folder: Path, before: torch.Tensor, after: torch.Tensor) -> Pair:
    slots = []
    for name, value in (("a", before), ("b", after)):
        save_file({"w": value.contiguous()}, folder / name)
        slots.append(Slot(folder / name, read_header(folder / name).tensors["w"]))
    return Pair("w", *slots)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    shape=st.sampled_from(
        [(24, 70), (70, 24), (3, 24, 20), (3, 20, 24), (24,), (1, 24), (24, 1), (1, 1, 24), ()]
    ),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64]),
)
def test_numbers_are_those_of_the_whole(
    seed: int, shape: tuple[int, ...], dtype: torch.dtype, tmp_path_factory: pytest.TempPathFactory
) -> None:
    generator = torch.Generator().manual_seed(seed)
    before = torch.randn(shape, generator=generator).to(dtype)
    after = (before.double() + 0.1 * torch.randn(shape, generator=generator).double()).to(dtype)
    axis = shape.index(24) if len(shape) > 1 and shape[0] != 1 else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_module, "TILE_ELEMENTS", 100)
        found = measure(_pair(tmp_path_factory.mktemp("pair"), before, after), axis)
    A, delta = before.double(), after.double() - before.double()
    numbers = found.numbers
    assert numbers.before == pytest.approx(float(A.square().sum()), rel=1e-5)
    assert numbers.energy == pytest.approx(float(delta.square().sum()), rel=1e-5)
    assert numbers.inner == pytest.approx(float((A * delta).sum()), rel=1e-4, abs=1e-4)
    assert numbers.largest == pytest.approx(float(delta.abs().max()), rel=1e-6)
    assert numbers.changed == int((before != after).sum())
    assert numbers.relative == pytest.approx(float(delta.norm() / A.norm()), rel=1e-5)
    cosine = float((A * after.double()).sum() / (A.norm() * after.double().norm()))
    assert numbers.cosine == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize("shape", [(24, 70), (70, 24), (3, 24, 20), (3, 20, 24)])
def test_the_sketch_has_the_left_vectors_of_the_change(shape: tuple[int, ...], tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    axis = shape.index(24)
    before = torch.randn(shape, generator=generator, dtype=torch.float64)
    u = torch.randn(24, generator=generator, dtype=torch.float64)
    rest = before.movedim(axis, 0).reshape(24, -1)
    v = torch.randn(rest.shape[1], generator=generator, dtype=torch.float64)
    moved = before.movedim(axis, 0)
    after = (moved + torch.outer(u, v).reshape(moved.shape)).movedim(0, axis)
    found = measure(_pair(tmp_path, before, after), axis)
    left = np.linalg.svd(found.change)[0][:, 0]
    assert abs(left @ (u / u.norm()).numpy()) == pytest.approx(1, abs=1e-9)
    assert found.row_norms == pytest.approx(rest.norm(dim=1).numpy(), rel=0.02)


@pytest.mark.parametrize("shape", [(24, 70), (70, 24), (3, 24, 50), (3, 50, 24), (100, 24, 2), (24,)])
def test_the_sample_is_columns_from_all_over_the_tensor(shape: tuple[int, ...], tmp_path: Path) -> None:
    axis = shape.index(24)
    before = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    after = before + torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_module, "TILE_ELEMENTS", 100)
        found = measure(_pair(tmp_path, before, after), axis)
        bare = measure(_pair(tmp_path, before, after), None)
    sides = [side.movedim(axis, 0).reshape(24, -1).numpy() for side in (before, after - before)]
    chosen = np.unique(np.linspace(0, sides[0].shape[1] - 1, 64).astype(int))
    assert np.array_equal(found.sample, np.stack([side[:, chosen] for side in sides]))
    assert bare.sample.size == 0


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 1.15), (torch.float16, 1.15)])
def test_the_floor_is_the_energy_of_rounding(dtype: torch.dtype, most: float, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(300, 400, generator=generator).to(dtype)
    exact = before.double() * (1 + 0.2 * torch.rand(before.shape, generator=generator).double())
    error = float((exact.to(dtype).double() - exact).square().sum())
    found = measure(_pair(tmp_path, before, exact.to(dtype)), 0).numbers
    assert 0.6 < found.floor / error < most


def test_a_type_through_which_values_went_is_named(tmp_path: Path) -> None:
    value = torch.randn(50, 60)
    assert cast_type(_pair(tmp_path, value, value.bfloat16())) == "BF16"
    assert cast_type(_pair(tmp_path, value, value.half().float())) == "F16"
    assert cast_type(_pair(tmp_path, value, value + 1)) is None
    assert cast_type(_pair(tmp_path, value.bfloat16(), value.bfloat16().half())) == "F16"


def test_a_damaged_tensor_is_not_finite(tmp_path: Path) -> None:
    value = torch.randn(8, 8)
    other = value.clone()
    other[3, 3] = float("nan")
    assert not measure(_pair(tmp_path, value, other), 0).numbers.finite


def test_the_view_of_a_tensor() -> None:
    assert (view_of((5, 7), 1).by_rows, view_of((5, 7), 0).by_rows, view_of((5,), 0).by_rows) == (
        True,
        False,
        False,
    )
    assert (view_of((3, 5, 7), 1).d, view_of((3, 5, 7), 1).n) == (5, 21)
