"""A folder is opened by its name, and one whose tensors or files do not fit together is refused by theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from surgery import open_dictionary
from surgery.dictionary.dictionary import unit_rows
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint
from tests.dictionary.saelens_folder import save, tensors_of


def test_loads_from_a_folder_by_name(tmp_path: Path, weights: Any, draw: Any) -> None:
    folder = save(tmp_path / "sae", tensors_of(weights, draw, "topk"), architecture="topk", k=3)
    dictionary = open_dictionary(str(folder))
    assert (dictionary.n_features, dictionary.d_model, dictionary.k) == (12, 6, 3)
    assert dictionary.hook_point == HookPoint(3, "resid_post")
    assert len(dictionary.sha256) == 64
    np.testing.assert_allclose(np.linalg.norm(unit_rows(dictionary, range(12)), axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b_enc": np.zeros(3, np.float32)}, r"b_enc has shape \(3,\)"),
        ({"b_dec": np.full(6, np.nan, np.float32)}, "b_dec holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, weights: Any, draw: Any, change: dict[str, np.ndarray], message: str
) -> None:
    tensors = tensors_of(weights, draw, "standard") | change
    with pytest.raises(DictionaryError, match=message):
        open_dictionary(str(save(tmp_path / "sae", tensors, architecture="standard")))


def test_a_missing_tensor_or_file_is_named(tmp_path: Path, weights: Any, draw: Any) -> None:
    tensors = tensors_of(weights, draw, "standard")
    folder = save(tmp_path / "sae", tensors, architecture="standard")
    save_file({"W_enc": tensors["W_enc"]}, folder / "sae_weights.safetensors")
    with pytest.raises(DictionaryError, match="lacks W_dec, b_dec, b_enc"):
        open_dictionary(str(folder))
    (folder / "cfg.json").write_text("{")
    with pytest.raises(DictionaryError, match="not valid JSON"):
        open_dictionary(str(folder))
    (folder / "cfg.json").unlink()
    with pytest.raises(DictionaryError, match=r"no cfg\.json"):
        open_dictionary(str(folder))
