"""What a comparison says in words, where numbers alone would be misread."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from surgery.checkpoint.layout import open_checkpoint
from surgery.compare.diff import Diff, compare_checkpoints
from surgery.compare.sentences import base_sentence, cosine_words, left_out_sentence, proofs
from tests.compare import edited_pairs as pairs

BF16, F16 = torch.bfloat16, torch.float16


def _diff(folder: Path, edited: pairs.Tensors, dtype: torch.dtype = BF16) -> Diff:
    one = pairs.save(folder / "a", pairs.base("llama")[0], _tensors())
    two = pairs.save(folder / "b", pairs.base("llama")[0], edited, dtype)
    return compare_checkpoints(open_checkpoint(one), open_checkpoint(two), workers=1)


def _tensors() -> pairs.Tensors:
    return {name: value.to(BF16).double() for name, value in pairs.base("llama")[1].items()}


def test_a_cast_is_no_other_training(tmp_path: Path) -> None:
    found = _diff(tmp_path, _tensors(), F16)
    assert base_sentence(found).startswith("0 of 39 tensors identical; the readers are those of A in another")
    assert "every reader among them" in base_sentence(_diff(tmp_path / "same", _tensors()))


def test_layers_that_were_left_out_are_named(tmp_path: Path) -> None:
    tensors, anatomy = _tensors(), pairs.base("llama")[2]
    edited = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(1.0))
    chosen = {name for name in tensors if "layers.1." in name or "layers.3.self_attn" in name}
    edited = {name: edited[name] if name in chosen else value for name, value in tensors.items()}
    assert left_out_sentence(_diff(tmp_path, edited)) == (
        "3 of 9 writers; left out: 1 embedding, 3 mlp out (layers 0, 2–3), 2 attention out (layers 0, 2)"
    )


def test_different_strengths_are_placed(tmp_path: Path) -> None:
    tensors, anatomy = _tensors(), pairs.base("llama")[2]
    half, whole = (
        pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(each)) for each in (0.5, 1.0)
    )
    edited = {name: whole[name] if "layers.2" in name else value for name, value in half.items()}
    said = " ".join(proofs(_diff(tmp_path, edited).verdict))
    assert "strengths from 0.50 (" in said and "to 1.00 (model.layers.2." in said


def test_what_holds_no_numbers_is_not_called_a_vector(tmp_path: Path) -> None:
    edited, name = _tensors(), "model.layers.0.mlp.down_proj.weight"
    edited[name] = edited[name] * torch.inf
    assert proofs(_diff(tmp_path, edited).verdict) == [f"hold values that are no numbers: {name}"]


@pytest.mark.parametrize(
    ("values", "words"), [((0.5,), "0.5000"), ((0.6, 0.8), "0.6000, 0.8000 (all of them together 1.0000)")]
)
def test_a_direction_may_lie_in_the_span_of_several(values: tuple[float, ...], words: str) -> None:
    assert cosine_words(values) == words
