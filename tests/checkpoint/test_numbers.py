"""Stored elements as numbers, beside torch's reading of the same bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surgery.checkpoint.dtypes import TORCH_NAMES
from surgery.checkpoint.numbers import NUMBERS, rounded, stored_type, wide_type, widen
from surgery.errors import CheckpointError


@pytest.mark.parametrize("dtype", sorted(NUMBERS))
@pytest.mark.parametrize("wide", [np.float32, np.float64])
def test_every_pattern_is_the_number_that_torch_reads(dtype: str, wide: type[np.floating]) -> None:
    kind = stored_type(dtype)
    raw = np.random.default_rng(0).integers(0, 256, 1 << 17, np.uint8)
    raw = np.concatenate([np.arange(1 << 16, dtype="<u2").view(np.uint8), raw]).view(kind)
    found = np.empty(raw.shape, wide)
    with np.errstate(all="ignore"):
        widen(raw, dtype, found)
    read = torch.frombuffer(bytearray(raw.tobytes()), dtype=getattr(torch, TORCH_NAMES[dtype]))
    expected = read.to(torch.float32 if wide is np.float32 else torch.float64).numpy()
    assert np.array_equal(found, expected, equal_nan=True)


@given(st.lists(st.floats(width=32), min_size=1, max_size=40))
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_rounding_is_that_of_torch(dtype: str, values: list[float]) -> None:
    given_values = np.asarray(values, np.float32)
    expected = torch.from_numpy(given_values).to(getattr(torch, TORCH_NAMES[dtype])).float().numpy()
    assert np.array_equal(rounded(given_values, dtype), expected, equal_nan=True)


def test_doubles_are_computed_with_as_they_are() -> None:
    assert wide_type("F64", "BF16") == np.float64
    assert wide_type("F32", "BF16") == np.float32
    value = np.asarray([1 / 3])
    assert rounded(value, "F64") is value


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(CheckpointError, match="dtype F6_E2M3: is not read as numbers"):
        stored_type("F6_E2M3")
