"""Stored elements as numbers that numpy computes with: float32, or float64 where they are stored so.

    BF16      the upper half of a float32          F8_E5M2   the upper half of a float16
    F8_E4M3   (-1)^s 2^(e − 7) (1 + m / 8), e = 0 subnormal, all ones no number (Micikevicius et al. 2022)

numpy alone, so that nothing here waits for torch to be imported.
"""

from __future__ import annotations

from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from surgery.errors import CheckpointError

Array = npt.NDArray[np.floating[Any]]
Bytes = npt.NDArray[np.uint8]

_NATIVE: MappingProxyType[str, str] = MappingProxyType(
    {
        "U8": "u1",
        "I8": "i1",
        "I16": "<i2",
        "U16": "<u2",
        "I32": "<i4",
        "U32": "<u4",
        "F32": "<f4",
        "I64": "<i8",
        "U64": "<u8",
        "F64": "<f8",
    }
)
_TABLED = MappingProxyType({"BF16": "<u2", "F16": "<u2", "F8_E5M2": "u1", "F8_E4M3": "u1"})
"""Types that are looked up; of float16 that is faster than numpy's conversion."""
NUMBERS = frozenset({*_NATIVE, *_TABLED})
"""Types whose elements are numbers that can be read here."""


def stored_type(dtype: str) -> np.dtype[Any]:
    """The numpy type that holds elements of a safetensors type as they are stored.

    Raises:
        CheckpointError: they are no numbers that can be read here.
    """
    found = _NATIVE.get(dtype) or _TABLED.get(dtype)
    if found is None:
        raise CheckpointError(f"dtype {dtype}: is not read as numbers here")
    return np.dtype(found)


def wide_type(*dtypes: str) -> np.dtype[Any]:
    """The type to compute in: float64 where one of them is stored so, else float32."""
    return np.dtype(np.float64 if "F64" in dtypes else np.float32)


def widen(raw: npt.NDArray[Any], dtype: str, out: Array) -> None:
    """Stored elements as numbers, into an array of the same shape in float32 or float64."""
    if dtype == "BF16" and out.dtype == np.float32:
        bits = out.view(np.uint32)
        np.copyto(bits, raw)
        np.left_shift(bits, 16, out=bits)
    elif dtype in _TABLED and out.dtype == np.float32:
        np.take(
            _table(dtype), raw, out=out, mode="clip"
        )  # no index is out of bounds, which clip need not check
    elif dtype in _TABLED:
        np.copyto(out, _table(dtype)[raw])
    else:
        np.copyto(out, raw, casting="unsafe")


def rounded(values: Array, dtype: str) -> Array:
    """Numbers rounded to the nearest of a type (ties to even), as float32 (F64: as they are)."""
    if dtype == "F64":
        return values
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
        if dtype == "F16":
            return narrow.astype(np.float16).astype(np.float32)
    if dtype != "BF16":
        return narrow
    bits = narrow.view(np.uint32)
    up = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isfinite(narrow), up.view(np.float32), narrow)


@cache
def _table(dtype: str) -> Array:
    """The number that each stored pattern of a type stands for, float32."""
    if dtype == "BF16":
        return (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    if dtype == "F16":
        return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    if dtype == "F8_E5M2":
        return (np.arange(1 << 8, dtype=np.uint16) << 8).view(np.float16).astype(np.float32)
    code = np.arange(1 << 8)
    exponent, mantissa = code >> 3 & 15, code & 7
    size = np.where(exponent > 0, 2.0 ** (exponent - 7) * (1 + mantissa / 8), 2.0**-6 * mantissa / 8)
    size[code & 127 == 127] = np.nan
    return np.where(code < 128, size, -size).astype(np.float32)
