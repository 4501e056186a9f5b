"""The folder: read back by a plain numpy decoder, and never half there."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from surgery.errors import DictionaryError, OutputError
from trainer.architectures import ARCHITECTURES
from trainer.checkpoint import CHECKPOINT
from trainer.config import HookSettings
from trainer.kinds import (
    BatchtopkSettings,
    DictionarySettings,
    GatedSettings,
    JumpreluSettings,
    MatryoshkaSettings,
    ReluSettings,
    TopkSettings,
    TranscoderSettings,
)
from trainer.normalization import Scales, fold
from trainer.parameters import decode
from trainer.save import (
    hook_names,
    numbers_as_json,
    read_dictionary,
    saelens_config,
    staged,
    write_density,
    write_dictionary,
)

D, M, OUT = 5, 11, 4
KINDS: dict[str, DictionarySettings] = {
    "standard": ReluSettings(architecture="relu", features=M, coefficient=0.0),
    "gated": GatedSettings(architecture="gated", features=M, coefficient=0.0),
    "topk": TopkSettings(architecture="topk", features=M, k=3),
    "jumprelu": JumpreluSettings(architecture="jumprelu", features=M, coefficient=0.0),
    "batchtopk": BatchtopkSettings(architecture="batchtopk", features=M, k=3),
    "matryoshka": MatryoshkaSettings(architecture="matryoshka", features=M, k=3, prefixes=(4,)),
    "jumprelu_transcoder": TranscoderSettings(architecture="transcoder", features=M, k=3),
    "jumprelu_skip_transcoder": TranscoderSettings(architecture="transcoder", features=M, k=3, skip=True),
}
TOPK = KINDS["topk"]
HOOK = HookSettings(layer=2, point="resid_post")
X = np.random.default_rng(7).standard_normal((20, D)).astype(np.float32)


def _written(folder: Path, settings: DictionarySettings) -> dict[str, jnp.ndarray]:
    rng = np.random.default_rng(0)
    target = jnp.zeros((3, OUT if settings.architecture == "transcoder" else D))
    start = ARCHITECTURES[settings.architecture].initialise(
        jax.random.key(0), jnp.zeros((3, D)), target, settings
    )
    p = {name: jnp.asarray(rng.standard_normal(array.shape), jnp.float32) for name, array in start.items()}
    p = fold(p, Scales(1.0, 1.0))
    if "threshold" in p:
        p["threshold"] = jnp.abs(p["threshold"])
    write_dictionary(folder, p, saelens_config(settings, p, dict(hook_names(HOOK))))
    return p


def _saelens_forward(folder: Path, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and reconstruction as the file's own fields say, in float64."""
    config = json.loads((folder / "cfg.json").read_text())
    w = {
        name: array.astype(np.float64)
        for name, array in load_file(folder / "sae_weights.safetensors").items()
    }
    shifted = x - w["b_dec"] if config["apply_b_dec_to_input"] else x.astype(np.float64)
    if config["architecture"] == "gated":
        size = shifted @ (w["W_enc"] * np.exp(w["r_mag"])) + w["b_mag"]
        codes = np.where(shifted @ w["W_enc"] + w["b_gate"] > 0, np.maximum(size, 0), 0)
        return codes, codes @ w["W_dec"] + w["b_dec"]
    codes = np.maximum(shifted @ w["W_enc"] + w["b_enc"], 0)
    if config["architecture"] == "topk":
        bound = np.sort(codes, axis=1)[:, -config["k"]][:, None]
        codes = np.where(codes >= bound, codes, 0)
    if config["architecture"].startswith("jumprelu"):
        codes = np.where(codes > w["threshold"], codes, 0)
    skipped = x @ w["W_skip"].T if "W_skip" in w else 0
    return codes, codes @ w["W_dec"] + w["b_dec"] + skipped


@pytest.mark.parametrize("kind", KINDS)
def test_file_alone_gives_the_trainers_codes(tmp_path: Path, kind: str) -> None:
    settings = KINDS[kind]
    p = _written(tmp_path, settings)
    codes = ARCHITECTURES[settings.architecture].encode(p, jnp.asarray(X), settings)
    expected_codes, expected = _saelens_forward(tmp_path, X)
    np.testing.assert_allclose(codes, expected_codes, atol=2e-5)
    np.testing.assert_allclose(decode(p, codes, jnp.asarray(X)), expected, atol=2e-5)
    config = json.loads((tmp_path / "cfg.json").read_text())
    assert (config["d_in"], config["d_sae"], config["dtype"]) == (D, M, "float32")
    assert config["architecture"] == {"batchtopk": "jumprelu", "matryoshka": "jumprelu"}.get(kind, kind)
    assert config.get("d_out", D) == expected.shape[1]
    assert config["metadata"]["hook_name"] == "blocks.2.hook_resid_post"
    assert config["metadata"]["sae_lens_version"].startswith(
        "6."
    )  # else SAELens takes it for an older layout
    widths = {name: array.shape for name, array in load_file(tmp_path / "sae_weights.safetensors").items()}
    assert widths.get("threshold", (M,)) == (M,)


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_gives_the_trainers_codes(tmp_path: Path, kind: str) -> None:
    package = pytest.importorskip("sae_lens", reason="sae-lens is not installed")
    torch = pytest.importorskip("torch")
    settings, p = KINDS[kind], _written(tmp_path, KINDS[kind])
    codes = ARCHITECTURES[settings.architecture].encode(p, jnp.asarray(X), settings)
    theirs, x = package.SAE.load_from_disk(str(tmp_path)), torch.from_numpy(X)
    assert theirs.cfg.metadata.hook_name == "blocks.2.hook_resid_post"
    with torch.inference_mode():
        np.testing.assert_allclose(codes, theirs.encode(x).numpy(), atol=2e-5)
        np.testing.assert_allclose(decode(p, codes, jnp.asarray(X)), theirs(x).numpy(), atol=2e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "transcoder" not in kind])
@pytest.mark.parametrize("subtract", [True, False])
def test_reads_either_use_of_the_decoder_bias(tmp_path: Path, kind: str, subtract: bool) -> None:
    _written(tmp_path, KINDS[kind])
    config = json.loads((tmp_path / "cfg.json").read_text()) | {"apply_b_dec_to_input": subtract}
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    _reads_as_it_stands(tmp_path)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "transcoder" in kind])
def test_reads_transcoders(tmp_path: Path, kind: str) -> None:
    _written(tmp_path, KINDS[kind])
    _reads_as_it_stands(tmp_path)


def _reads_as_it_stands(folder: Path) -> None:
    saved, x = read_dictionary(folder), jnp.asarray(X)
    codes = ARCHITECTURES[saved.settings.architecture].encode(saved.parameters, x, saved.settings)
    expected_codes, expected = _saelens_forward(folder, X)
    np.testing.assert_allclose(codes, expected_codes, atol=2e-5)
    np.testing.assert_allclose(decode(saved.parameters, codes, x), expected, atol=2e-5)
    assert saved.hook_name == "blocks.2.hook_resid_post"


def test_an_undefined_number_is_null_in_json() -> None:
    numbers = {"loss_recovered": float("nan"), "kl_spliced": float("inf"), "fvu": 0.5, "tokens": 7}
    expected = {"loss_recovered": None, "kl_spliced": None, "fvu": 0.5, "tokens": 7}
    assert numbers_as_json(numbers) == expected


def test_density_is_written_as_saelens_does(tmp_path: Path) -> None:
    write_density(tmp_path, np.array([0.0, 0.1, 1.0]))
    found = load_file(tmp_path / "sparsity.safetensors")["sparsity"]
    np.testing.assert_allclose(found, [-10, -1, 0], atol=1e-5)


def test_hook_of_a_transcoder_has_two_names() -> None:
    assert hook_names(HookSettings(layer=3, point="mlp")) == {
        "hook_name": "blocks.3.mlp.hook_in", "hook_name_out": "blocks.3.mlp.hook_out",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": "temporal"}, "'temporal' is not read here"),
        ({"normalize_activations": "layer_norm"}, "fold the normalisation"),
    ],
)
def test_other_kinds_are_refused(tmp_path: Path, change: dict[str, str], told: str) -> None:
    _written(tmp_path, TOPK)
    config = json.loads((tmp_path / "cfg.json").read_text()) | change
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(DictionaryError, match=told):
        read_dictionary(tmp_path)


def test_missing_and_broken_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match=r"it needs cfg\.json"):
        read_dictionary(tmp_path)
    _written(tmp_path, TOPK)
    save_file({"W_enc": np.zeros((D, M), np.float32)}, tmp_path / "sae_weights.safetensors")
    with pytest.raises(DictionaryError, match="b_enc"):
        read_dictionary(tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"\0" * 4)
    with pytest.raises(DictionaryError, match="not a dictionary folder"):
        read_dictionary(tmp_path)


def test_folder_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with pytest.raises(ZeroDivisionError), staged(out) as staging:
        (staging / "cfg.json").write_text(str(1 / 0))
    assert not out.exists()
    with staged(out) as staging:
        assert list(staging.iterdir()) == []  # what a failed run left is gone
        (staging / "cfg.json").write_text("{}")
    assert [entry.name for entry in out.iterdir()] == ["cfg.json"]
    assert [entry.name for entry in out.parent.iterdir()] == ["out"]


def test_existing_folder_is_kept_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with staged(out) as staging:
        (staging / "cfg.json").write_text("1")
    with pytest.raises(OutputError, match="exists already"), staged(out):
        pass
    with pytest.raises(RuntimeError, match="half way"), staged(out, overwrite=True):
        raise RuntimeError("half way")
    assert (out / "cfg.json").read_text() == "1"  # a failed replacement leaves the old one
    with staged(out, overwrite=True) as staging:
        (staging / "cfg.json").write_text("2")
    assert (out / "cfg.json").read_text() == "2"


def test_unfinished_run_is_kept_unless_told(tmp_path: Path) -> None:
    out, left = tmp_path / "out", tmp_path / "out.partial" / CHECKPOINT / "9"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"hours of work")
    with pytest.raises(OutputError, match="pass --resume to go on"), staged(out):
        pass
    with pytest.raises(RuntimeError), staged(out, resume=True):
        raise RuntimeError
    assert left.read_bytes() == b"hours of work"
    with staged(out, overwrite=True):
        assert not left.exists()


def test_foreign_files_are_never_removed(tmp_path: Path) -> None:
    out = tmp_path / "home"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.txt"), staged(out, overwrite=True):
        pass
    assert (out / "thesis.txt").exists()


def test_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="has no name of its own; choose another --out"), staged(Path()):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another --out"), staged(tmp_path / "file" / "out"):
        pass
