"""The battery: every kind of edit on several families, types and parts of the depth; the verdict is right
in all of them, and nothing is called an ablation that is not one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from surgery.checkpoint.layout import open_checkpoint
from surgery.compare.diff import Diff, compare_checkpoints
from surgery.compare.sentences import base_sentence, headline
from surgery.compare.verdict import Effect, Kind
from tests.compare import edited_pairs as pairs
from tests.compare.edited_pairs import Tensors

Edit = Callable[[Tensors, pairs.Anatomy], Tensors]
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
ABLATIONS = {
    "ablation",
    "oblique_ablation",
    "row_norm_preserving_ablation",
    "column_norm_preserving_ablation",
}


def _diff(tmp_path: Path, family: str, edited: Tensors, before: torch.dtype, after: torch.dtype) -> Diff:
    config, tensors, _ = pairs.base(family)
    stored = {name: value.to(before).double() for name, value in tensors.items()}
    one = pairs.save(tmp_path / "a", config, stored, before)
    two = pairs.save(tmp_path / "b", config, edited, after)
    return compare_checkpoints(open_checkpoint(one), open_checkpoint(two), workers=1)


def _stored(family: str, dtype: torch.dtype) -> tuple[Tensors, pairs.Anatomy]:
    _, tensors, anatomy = pairs.base(family)
    return {name: value.to(dtype).double() for name, value in tensors.items()}, anatomy


@dataclass(frozen=True)
class Case:
    family: str
    dtype: torch.dtype
    strength: float
    effect: Effect
    part: str = "all"


CASES = [
    Case("llama", BF16, 1.0, "removed"),
    Case("llama", F16, 1.0, "removed"),
    Case("llama", F32, 1.0, "removed"),
    Case("gemma2", BF16, 1.0, "removed"),
    Case("gemma2", F32, 1.0, "removed"),
    Case("gpt2", BF16, 1.0, "removed"),
    Case("gpt2", F32, 1.0, "removed"),
    Case("mixtral", BF16, 1.0, "removed"),
    Case("mixtral", F16, 1.0, "removed"),
    Case("llama", BF16, 0.5, "weakened"),
    Case("gemma2", BF16, 0.5, "weakened"),
    Case("gpt2", F16, 0.3, "weakened"),
    Case("llama", BF16, 0.1, "weakened"),
    Case("llama", BF16, 2.0, "inverted"),
    Case("gemma2", F32, 1.5, "inverted"),
    Case("llama", BF16, -0.7, "strengthened"),
    Case("mixtral", BF16, -1.0, "strengthened"),
    Case("gpt2", F32, -0.2, "strengthened"),
    Case("llama", BF16, 1.0, "removed", "late"),
    Case("llama", F32, 1.0, "removed", "attention_out"),
    Case("gemma2", BF16, 1.0, "removed", "mlp_out"),
    Case("gpt2", BF16, 1.0, "removed", "embedding"),
    Case("llama", BF16, 1.0, "removed", "one"),
    Case("gemma2", BF16, 0.5, "weakened", "one"),
]


def _chosen(case: Case) -> object:
    return {
        "all": lambda writer: True,
        "late": lambda writer: (writer.layer or 0) >= 2,
        "one": lambda writer: writer.layer == 1 and writer.role == "mlp_out" and not writer.bias,
    }.get(case.part, lambda writer: writer.role == case.part)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_ablation_is_called_one(case: Case, tmp_path: Path) -> None:
    tensors, anatomy = _stored(case.family, case.dtype)
    r = pairs.direction()
    choose = _chosen(case)
    edited = pairs.edit_writers(tensors, anatomy, r, pairs.ablated(case.strength), choose=choose)
    verdict = _diff(tmp_path, case.family, edited, case.dtype, case.dtype).verdict
    assert (verdict.kind, verdict.effect) == ("ablation", case.effect), verdict.facts
    assert set(verdict.tensors) == {each.tensor for each in anatomy.writers if choose(each)}
    assert verdict.shared is not None
    cosine = abs(float(verdict.shared.vectors[0] @ r.numpy()))
    assert cosine >= (0.9999 if abs(case.strength) >= 0.5 and case.part == "all" else 0.99)
    assert verdict.facts["strength_mean"] == pytest.approx(case.strength, abs=0.01)


@pytest.mark.parametrize("dtype", [BF16, F16, F32], ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (pairs.oblique, "oblique_ablation"),
        (pairs.row_norm_preserving, "row_norm_preserving_ablation"),
        (pairs.column_norm_preserving, "column_norm_preserving_ablation"),
    ],
    ids=["oblique", "row norms", "column norms"],
)
def test_other_ablations_are_told_apart(
    edit: pairs.MatrixEdit, kind: Kind, family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors, anatomy = _stored(family, dtype)
    matrices = lambda writer: not writer.bias  # noqa: E731
    edited = pairs.edit_writers(tensors, anatomy, pairs.direction(), edit, choose=matrices)
    verdict = _diff(tmp_path, family, edited, dtype, dtype).verdict
    assert verdict.kind == kind, (verdict.facts, verdict.probes)
    assert verdict.effect == "removed"


@pytest.mark.parametrize("strength", [(1.0, 1.0), (1.0, 0.5)], ids=str)
def test_two_directions(strength: tuple[float, float], tmp_path: Path) -> None:
    tensors, anatomy = _stored("llama", BF16)
    Q = torch.linalg.qr(torch.stack([pairs.direction(1), pairs.direction(2)], 1))[0]
    scale = torch.diag(torch.tensor(strength, dtype=torch.float64))
    edited = pairs.edit_writers(tensors, anatomy, Q[:, 0], lambda W, _: W - Q @ scale @ Q.T @ W)
    verdict = _diff(tmp_path, "llama", edited, BF16, BF16).verdict
    assert verdict.kind == "ablation", verdict.facts
    assert verdict.shared is not None and verdict.shared.vectors.shape == (2, pairs.D)
    inside = np.linalg.norm(verdict.shared.vectors @ Q.numpy(), axis=1)
    assert inside == pytest.approx(1.0, abs=1e-3)
    found = np.mean([list(each) for each in verdict.strengths.values()], axis=0)
    assert sorted(found, reverse=True) == pytest.approx(strength, abs=0.02)


def test_directions_of_their_own_are_an_ablation_without_a_shared_direction(tmp_path: Path) -> None:
    tensors, anatomy = _stored("llama", BF16)
    edited = dict(tensors)
    for layer in range(pairs.LAYERS):
        edited |= {
            name: value
            for name, value in pairs.edit_writers(
                tensors, anatomy, pairs.direction(layer), pairs.ablated(1.0)
            ).items()
            if f".{layer}." in name
        }
    verdict = _diff(tmp_path, "llama", edited, BF16, BF16).verdict
    assert (verdict.kind, verdict.shared) == ("ablation", None)
    assert verdict.facts["agreement"] < 0.9


WRITERS = ["self_attn.o_proj.weight", "mlp.down_proj.weight"]
READERS = ["self_attn.q_proj.weight", "mlp.up_proj.weight"]


def _names(parts: list[str]) -> list[str]:
    return [f"model.layers.{layer}.{part}" for layer in range(pairs.LAYERS) for part in parts]


@pytest.mark.parametrize("dtype", [BF16, F32], ids=str)
@pytest.mark.parametrize("rank", [1, 4, 16])
@pytest.mark.parametrize("parts", [WRITERS, READERS, WRITERS + READERS], ids=["writers", "readers", "both"])
def test_an_adapter_is_no_ablation(parts: list[str], rank: int, dtype: torch.dtype, tmp_path: Path) -> None:
    tensors, _ = _stored("llama", dtype)
    edited = pairs.with_adapter(tensors, _names(parts), rank)
    verdict = _diff(tmp_path, "llama", edited, dtype, dtype).verdict
    assert verdict.kind == "low_rank", verdict
    assert verdict.facts["rank"] == rank


@pytest.mark.parametrize("dtype", [BF16, F32], ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize(
    "edit",
    [
        pairs.rotated,
        pairs.redirected,
        pairs.moved,
        pairs.along_with_random_right_side,
        pairs.nearly_its_own_right_side,
        pairs.ablated_in_half_of_the_columns,
        pairs.clipped,
        pairs.projected_on_the_wrong_side,
        pairs.row_norms_at_rank_three,
    ],
    ids=lambda edit: edit.__name__,
)
def test_what_looks_like_an_ablation_is_not_called_one(
    edit: pairs.MatrixEdit, family: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors, anatomy = _stored(family, dtype)
    edited = pairs.edit_writers(
        tensors, anatomy, pairs.direction(), edit, choose=lambda writer: not writer.bias
    )
    verdict = _diff(tmp_path, family, edited, dtype, dtype).verdict
    assert verdict.kind == "low_rank", verdict


@pytest.mark.parametrize("dtype", [BF16, F16, F32], ids=str)
@pytest.mark.parametrize("scale", [0.3, 0.03, 0.003])
def test_a_fine_tune_is_dense(scale: float, dtype: torch.dtype, tmp_path: Path) -> None:
    tensors, _ = _stored("llama", dtype)
    verdict = _diff(tmp_path, "llama", pairs.fine_tuned(tensors, scale), dtype, dtype).verdict
    assert verdict.kind == "dense_fine_tune" or (dtype is BF16 and scale == 0.003), verdict
    assert verdict.kind not in ABLATIONS


def _reapplied(tensors: Tensors, anatomy: pairs.Anatomy) -> Tensors:
    once = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(1.0))
    return pairs.edit_writers(once, anatomy, pairs.direction(), pairs.ablated(1.0))


def _halved_twice(tensors: Tensors, anatomy: pairs.Anatomy) -> Tensors:
    once = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(0.5))
    return pairs.edit_writers(once, anatomy, pairs.direction(), pairs.ablated(0.5))


def _merged_with_its_base(tensors: Tensors, anatomy: pairs.Anatomy) -> Tensors:
    edited = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(1.0))
    return {name: 0.7 * tensors[name] + 0.3 * value for name, value in edited.items()}


@pytest.mark.parametrize("dtype", [BF16, F32], ids=str)
@pytest.mark.parametrize(
    ("edit", "strength"), [(_reapplied, 1.0), (_halved_twice, 0.75), (_merged_with_its_base, 0.3)]
)
def test_what_comes_to_an_ablation_is_one(
    edit: Edit, strength: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    edited = edit(*_stored("llama", dtype))
    verdict = _diff(tmp_path, "llama", edited, dtype, dtype).verdict
    assert verdict.kind == "ablation"
    assert verdict.facts["strength_mean"] == pytest.approx(strength, abs=0.01)


@pytest.mark.parametrize("quantise", [pairs.q8_0, pairs.four_bits], ids=["8 bits", "4 bits"])
@pytest.mark.parametrize("dtype", [BF16, F32], ids=str)
def test_an_ablation_that_was_quantised_is_not_the_same_weights(
    quantise: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors, anatomy = _stored("llama", dtype)
    edited = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(1.0))
    edited = {name: quantise(value) for name, value in edited.items()}
    writers = {writer.tensor for writer in anatomy.writers}
    verdict = _diff(tmp_path, "llama", edited, dtype, dtype).verdict
    for part in verdict.parts:
        assert (part.kind == "requantisation") == writers.isdisjoint(part.tensors), part
        assert part.kind not in ABLATIONS or part.facts["strength_mean"] == pytest.approx(1, abs=0.05)
    assert {part.kind for part in verdict.parts} >= {"requantisation", "unknown"}
    lost = [part for part in verdict.parts if "nothing any more along one direction" in headline(part)]
    assert [part.kind for part in lost] == (["unknown"] if quantise is pairs.q8_0 else [])


def test_an_ablation_of_quantised_weights_has_no_directions_of_noise(tmp_path: Path) -> None:
    tensors, anatomy = _stored("llama", BF16)
    rounded = {name: pairs.q8_0(value) for name, value in tensors.items()}
    edited = pairs.edit_writers(rounded, anatomy, pairs.direction(), pairs.ablated(1.0))
    verdict = _diff(tmp_path, "llama", edited, BF16, BF16).verdict
    for part in (verdict, *verdict.parts):
        assert part.kind not in ABLATIONS or part.facts["strength_mean"] == pytest.approx(1, abs=0.05)


def test_an_ablated_fine_tune_is_a_fine_tune(tmp_path: Path) -> None:
    tensors, anatomy = _stored("llama", BF16)
    edited = pairs.edit_writers(pairs.fine_tuned(tensors), anatomy, pairs.direction(), pairs.ablated(1.0))
    verdict = _diff(tmp_path / "both", "llama", edited, BF16, BF16).verdict
    assert verdict.kind == "dense_fine_tune"
    assert verdict.facts["component_left_along_them"] < 0.05
    assert "nothing any more along one direction" in headline(verdict)
    tuned = _diff(tmp_path / "tuned", "llama", pairs.fine_tuned(tensors), BF16, BF16).verdict
    assert tuned.kind == "dense_fine_tune"
    assert tuned.facts["component_left_along_them"] == pytest.approx(1, abs=0.1)
    assert "along one direction" not in headline(tuned)


def test_another_training_run_is_another_base(tmp_path: Path) -> None:
    _, other, _ = pairs.base("llama", seed=1)
    assert _diff(tmp_path, "llama", other, BF16, BF16).verdict.kind == "different_base"


def test_another_architecture_is_another_base(tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    wide = {name: torch.cat([value, value]) for name, value in tensors.items()}
    other = config | {"hidden_size": 2 * pairs.D}, {name: torch.cat([v, v], -1) for name, v in wide.items()}
    one = pairs.save(tmp_path / "a", config, tensors)
    for name, (config, tensors) in {"wider": other, "gpt2": pairs.base("gpt2")[:2]}.items():
        two = pairs.save(tmp_path / name, config, tensors)
        diff = compare_checkpoints(open_checkpoint(one), open_checkpoint(two))
        assert diff.verdict.kind == "different_base"
        assert "another base" in base_sentence(diff)


@pytest.mark.parametrize("quantise", [pairs.q8_0, pairs.four_bits], ids=["8 bits", "4 bits"])
@pytest.mark.parametrize("dtype", [BF16, F16, F32], ids=str)
def test_a_round_trip_through_few_bits(quantise: object, dtype: torch.dtype, tmp_path: Path) -> None:
    tensors, _ = _stored("llama", dtype)
    edited = {name: quantise(value) for name, value in tensors.items()}
    verdict = _diff(tmp_path, "llama", edited, dtype, dtype).verdict
    assert verdict.kind == "requantisation", verdict


@pytest.mark.parametrize(("before", "after"), [(BF16, F16), (BF16, F32), (F32, BF16), (F32, F16)], ids=str)
def test_another_type_is_a_requantisation(before: torch.dtype, after: torch.dtype, tmp_path: Path) -> None:
    tensors, _ = _stored("llama", before)
    assert _diff(tmp_path, "llama", tensors, before, after).verdict.kind == "requantisation"


def test_wider_storage_of_rounded_values_is_a_requantisation(tmp_path: Path) -> None:
    tensors, _ = _stored("llama", F32)
    rounded = {name: value.to(BF16).double() for name, value in tensors.items()}
    assert _diff(tmp_path, "llama", rounded, F32, F32).verdict.kind == "requantisation"


@pytest.mark.parametrize("through", [F32, BF16], ids=str)
def test_an_ablation_across_types_is_both(through: torch.dtype, tmp_path: Path) -> None:
    """Also where it was stored like the base before it was cast: its rounding is that of the coarser type."""
    tensors, anatomy = _stored("llama", BF16)
    edited = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(1.0))
    edited = {name: value.to(through) for name, value in edited.items()}
    verdict = _diff(tmp_path, "llama", edited, BF16, F16).verdict
    assert {part.kind for part in verdict.parts} == {"ablation", "requantisation"}


def test_a_bias_addition(tmp_path: Path) -> None:
    tensors, _ = _stored("gpt2", BF16)
    name = "transformer.h.2.mlp.c_proj.bias"
    edited = tensors | {name: tensors[name] + 2 * pairs.direction()}
    verdict = _diff(tmp_path, "gpt2", edited, BF16, BF16).verdict
    assert (verdict.kind, verdict.tensors) == ("bias_addition", (name,))
    assert verdict.facts["length_added"][name] == pytest.approx(2, abs=0.02)


def test_the_same_bias_everywhere_is_no_ablation(tmp_path: Path) -> None:
    tensors, anatomy = _stored("gpt2", F32)
    biases = [writer.tensor for writer in anatomy.writers if writer.bias]
    edited = tensors | {name: tensors[name] + pairs.direction() for name in biases}
    assert _diff(tmp_path, "gpt2", edited, F32, F32).verdict.kind == "bias_addition"


def test_one_scaled_writer_is_unknown(tmp_path: Path) -> None:
    tensors, _ = _stored("llama", F32)
    edited = {name: value * 0.5 if name in _names(WRITERS) else value for name, value in tensors.items()}
    verdict = _diff(tmp_path, "llama", edited, F32, F32).verdict
    assert verdict.kind == "unknown"
    assert set(verdict.facts) == {"each_is_a_multiple_of_what_it_was"}


def test_noise_that_hardly_stands_above_rounding_is_of_no_low_rank(tmp_path: Path) -> None:
    """Four of eight columns of a sketch hold half of any noise."""
    tensors, _ = _stored("llama", BF16)
    found = _diff(tmp_path, "llama", pairs.fine_tuned(tensors, 0.006), BF16, BF16)
    assert {each.reading.form for each in found.evidence.changed} == {"dense", "vector"}


@pytest.mark.parametrize("shape", [(1, pairs.D), (pairs.D, 1)])
def test_a_matrix_of_one_row_or_column_has_no_rank_to_tell(shape: tuple[int, int], tmp_path: Path) -> None:
    """As the gate of a shared expert has: (1, d_model)."""
    config, tensors, _ = pairs.base("llama")
    name = "model.layers.0.mlp.shared_expert_gate.weight"
    gate = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    folders = [
        pairs.save(tmp_path / side, config, tensors | {name: value}, BF16)
        for side, value in (("a", gate), ("b", gate + 0.1))
    ]
    verdict = compare_checkpoints(*map(open_checkpoint, folders), workers=1).verdict
    assert (verdict.kind, verdict.facts) == ("unknown", {"changed_vectors": [name]})


def test_a_grown_vocabulary(tmp_path: Path) -> None:
    tensors, _ = _stored("llama", BF16)
    config = pairs.base("llama")[0]
    wider = {
        name: torch.cat([value, torch.zeros(64, pairs.D, dtype=value.dtype)])
        if len(value) == pairs.VOCABULARY
        else value
        for name, value in tensors.items()
    }
    one = pairs.save(tmp_path / "a", config, tensors)
    two = pairs.save(tmp_path / "b", config | {"vocab_size": pairs.VOCABULARY + 64}, wider)
    verdict = compare_checkpoints(open_checkpoint(one), open_checkpoint(two)).verdict
    assert verdict.kind == "embedding_resize"
    assert verdict.facts["rows"]["lm_head.weight"] == [pairs.VOCABULARY, pairs.VOCABULARY + 64]


def test_another_layout_is_repacked(tmp_path: Path) -> None:
    config, tensors, _ = pairs.base("llama")
    one = pairs.save(tmp_path / "a", config, tensors)
    two = pairs.save(tmp_path / "b", config, tensors, shards=3)
    diff = compare_checkpoints(open_checkpoint(one), open_checkpoint(two))
    assert (diff.verdict.kind, diff.same) == ("repacked", True)


def test_an_ablation_and_an_adapter_are_told_apart(tmp_path: Path) -> None:
    tensors, anatomy = _stored("llama", BF16)
    edited = pairs.edit_writers(tensors, anatomy, pairs.direction(), pairs.ablated(1.0))
    edited = pairs.with_adapter(edited, _names(READERS), 4)
    verdict = _diff(tmp_path, "llama", edited, BF16, BF16).verdict
    assert verdict.kind == "several"
    assert [part.kind for part in verdict.parts] == ["ablation", "low_rank"]
