"""What stands behind a writer, as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.tensor import read_tensor
from surgery.linalg.projection import transport
from surgery.model.anatomy import Gain, read_anatomy
from surgery.model.families.trials import TRIALS
from surgery.model.gains import in_stream, whole_gain
from surgery.model.twin import build_twin


def _twin(model_type: str, folder: Path) -> Checkpoint:
    return open_checkpoint(build_twin({"model_type": model_type, **TRIALS[model_type][1]}, folder, seed=0))


def _gain(checkpoint: Checkpoint, tensor: str) -> Gain:
    writers = read_anatomy(checkpoint.config, checkpoint.shapes).writers
    gain = next(writer.gain for writer in writers if writer.tensor == tensor)
    assert gain is not None
    return gain


def test_norms_one_behind_the_other_are_multiplied(tmp_path: Path) -> None:
    checkpoint = _twin("gemma4_text", tmp_path / "t")
    norm = "model.layers.0.post_feedforward_layernorm"
    expected = np.prod(
        [read_tensor(checkpoint, name).double().numpy() for name in (f"{norm}_2.weight", f"{norm}.weight")], 0
    )
    found = whole_gain(_gain(checkpoint, "model.layers.0.experts.down_proj"), checkpoint)
    np.testing.assert_allclose(found, expected)


def test_of_a_convolution_the_position_itself_counts(tmp_path: Path) -> None:
    checkpoint = _twin("inkling_text", tmp_path / "t")
    taps = read_tensor(checkpoint, "model.layers.0.attn_sconv.conv1d.weight").double().numpy()
    found = whole_gain(_gain(checkpoint, "model.layers.0.self_attn.o_proj.weight"), checkpoint)
    np.testing.assert_allclose(found, 1 + taps[:, 0, -1])


@pytest.mark.parametrize("zeros", [0, 3])
def test_what_was_carried_through_a_gain_comes_back(zeros: int) -> None:
    random = np.random.default_rng(0)
    gain, direction = random.standard_normal(16), random.standard_normal(16)
    gain[:zeros] = direction[:zeros] = 0
    found = in_stream(transport(direction, gain)[None], gain)[0]
    np.testing.assert_allclose(found, direction / np.linalg.norm(direction))
    np.testing.assert_array_equal(in_stream(found[None], None)[0], found)
