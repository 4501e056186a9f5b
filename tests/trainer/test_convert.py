"""Foreign dictionaries in, SAELens folders out: the same codes and the same output."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from surgery.dictionary.dictionary import Dictionary, encode, reconstruct
from surgery.dictionary.facts import Facts
from surgery.dictionary.source import open_dictionary
from surgery.errors import DictionaryError
from surgery.hook_point import HookPoint
from trainer.cli import main
from trainer.convert import convert, saelens_arrays, saelens_words

D, M = 6, 12
RNG = np.random.default_rng(0)
ENC, DEC = (RNG.standard_normal((M, D)).astype(np.float32) for _ in range(2))
B_ENC, B_DEC = (RNG.standard_normal(size).astype(np.float32) for size in (M, D))
X = 3 * np.random.default_rng(1).standard_normal((40, D))


def _gemma_scope(folder: Path) -> Facts:
    threshold = np.full(M, 0.3, np.float32)
    np.savez(folder / "params.npz", W_enc=ENC.T, W_dec=DEC, b_enc=B_ENC, b_dec=B_DEC, threshold=threshold)
    return Facts(hook_point=HookPoint(3, "resid_post"))


def _saex(gated: bool) -> Callable[[Path], Facts]:
    def write(folder: Path) -> Facts:
        arrays = {"W_enc": ENC.T.copy(), "b_enc": B_ENC, "W_dec": DEC, "b_dec": B_DEC}
        arrays |= {"scaling_factor": np.linspace(0.5, 2, M, dtype=np.float32)}
        arrays |= {"s_gate": B_ENC[::-1].copy() * gated, "b_gate": B_ENC * np.float32(0.3 * gated)}
        arrays |= {"mean_norm": np.array(4, np.float32), "tgt_mean_norm": np.array(3, np.float32)}
        save_file(arrays, folder / "sae_weights.safetensors")
        (folder / "cfg.json").write_text(json.dumps({"d_in": D, "d_sae": M, "expansion_factor": 2}))
        return Facts(hook_point=HookPoint(3, "resid_pre"))

    return write


def _sparsify(folder: Path) -> Facts:
    arrays = {"encoder.weight": ENC, "encoder.bias": B_ENC, "W_dec": DEC, "b_dec": B_DEC}
    save_file(arrays, folder / "sae.safetensors")
    config = {"d_in": D, "num_latents": M, "k": 3, "activation": "topk", "expansion_factor": 2}
    (folder / "cfg.json").write_text(json.dumps(config))
    return Facts(hook_point=HookPoint(3, "resid_post"))


def _llama_scope(folder: Path) -> Facts:
    arrays = {
        "encoder.weight": ENC,
        "encoder.bias": B_ENC,
        "decoder.weight": DEC.T.copy(),
        "decoder.bias": B_DEC,
    }
    (folder / "checkpoints").mkdir()
    save_file(arrays, folder / "checkpoints" / "final.safetensors")
    config = {
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.2,
        "dataset_average_activation_norm": {"in": 5.0},
    }
    place = {"hook_point_in": "blocks.3.hook_resid_post", "hook_point_out": "blocks.3.hook_resid_post"}
    (folder / "hyperparams.json").write_text(json.dumps(config | place))
    return Facts()


@pytest.mark.parametrize(
    "write", [_gemma_scope, _saex(False), _saex(True), _sparsify, _llama_scope],
    ids=["gemma_scope", "saex relu", "saex gated", "sparsify", "llama_scope"],
)  # fmt: skip
def test_codes_and_output_stay(write: Callable[[Path], Facts], tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    facts = write(source)
    before = open_dictionary(str(source), facts=facts)
    told = convert(str(source), tmp_path / "out", facts=facts)
    after = open_dictionary(str(tmp_path / "out"))
    codes = encode(before, X)
    assert 0 < np.count_nonzero(codes) < codes.size
    np.testing.assert_allclose(encode(after, X), codes, atol=2e-5)
    np.testing.assert_allclose(reconstruct(after, X), reconstruct(before, X), atol=5e-5)
    assert after.hook_point == before.hook_point and after.architecture == before.architecture
    assert told["metadata"]["sha256"] == before.sha256
    assert told["metadata"]["sae_lens_version"].startswith("6.")


def _any(**changed: object) -> Dictionary:
    plain = Dictionary("it", "standard", ENC, B_ENC, DEC, B_DEC, None, False, None)
    return replace(plain, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"architecture": "groupmax", "k": 3}, "no groupmax"),
        ({"architecture": "topk", "k": 3, "is_transcoder": True}, "no topk_transcoder"),
    ],
)
def test_kinds_without_words_are_refused(changed: dict[str, object], told: str) -> None:
    with pytest.raises(DictionaryError, match=told):
        saelens_words(_any(**changed))


def test_gated_with_a_negative_gain_is_refused() -> None:
    with pytest.raises(DictionaryError, match="not all positive"):
        saelens_arrays(_any(architecture="gated", b_gate=B_ENC, gain=-np.ones(M)))


@pytest.mark.parametrize("skip", [False, True])
def test_transcoders_keep_their_kind(skip: bool) -> None:
    told = saelens_words(_any(is_transcoder=True, W_skip=np.eye(D) if skip else None))
    assert told["architecture"] == ("skip_transcoder" if skip else "transcoder") and told["d_out"] == D


def test_command(tmp_path: Path) -> None:
    _gemma_scope(tmp_path)
    command = ["convert", str(tmp_path), "--hook-point", "resid_post.3", "--out", str(tmp_path / "out")]
    run = CliRunner().invoke(main, command)
    assert run.exit_code == 0, run.output
    assert "jumprelu" in run.stdout and (tmp_path / "out" / "cfg.json").is_file()
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 1 and "pass --overwrite" in again.stderr
    gone = CliRunner().invoke(main, ["convert", str(tmp_path / "gone"), "--out", str(tmp_path / "new")])
    assert gone.exit_code == 2 and not (tmp_path / "new").exists()
