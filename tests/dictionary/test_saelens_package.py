"""The same codes and outputs as the sae-lens package, where it is installed (the extra `parity`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surgery import open_dictionary
from surgery.dictionary.dictionary import encode, reconstruct
from tests.dictionary.plain import D_MODEL, N_FEATURES
from tests.dictionary.saelens_folder import save, tensors_of

package = pytest.importorskip("sae_lens", reason="sae-lens is not installed")
torch = pytest.importorskip("torch")

_OF_THE_PACKAGE = (
    "standard",
    "gated",
    "jumprelu",
    "topk",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)


def _agrees_with_the_package(folder: Path) -> None:
    """Codes and outputs of a folder by the package and by us."""
    theirs = package.SAE.load_from_disk(str(folder))
    x = torch.randn(30, D_MODEL, generator=torch.Generator().manual_seed(0))
    ours = open_dictionary(str(folder))
    with torch.inference_mode():
        codes, output = theirs.encode(x).numpy(), theirs(x).numpy()
    np.testing.assert_allclose(encode(ours, x.numpy()), codes, atol=1e-5)
    np.testing.assert_allclose(reconstruct(ours, x.numpy()), output, atol=1e-5)
    assert codes.any()


@pytest.mark.parametrize("architecture", _OF_THE_PACKAGE)
def test_equals_the_package_where_it_is_installed(
    tmp_path: Path, weights: Any, draw: Any, architecture: str
) -> None:
    config: dict[str, Any] = {"architecture": architecture, "dtype": "float32", "device": "cpu"}
    if architecture == "topk":
        config["k"] = 3
    if "transcoder" in architecture:
        config |= {"d_out": D_MODEL, "apply_b_dec_to_input": False}
    _agrees_with_the_package(save(tmp_path / "sae", tensors_of(weights, draw, architecture), **config))


@pytest.mark.parametrize("normalize", ["layer_norm", "constant_norm_rescale"])
def test_normalised_inputs_equal_the_package_too(
    tmp_path: Path, weights: Any, draw: Any, normalize: str
) -> None:
    config = {"architecture": "standard", "dtype": "float32", "device": "cpu"}
    folder = save(
        tmp_path / "sae", tensors_of(weights, draw, "standard"), normalize_activations=normalize, **config
    )
    _agrees_with_the_package(folder)


@pytest.mark.parametrize(
    "kind", ["BatchTopK", "MatryoshkaBatchTopK", "TopK", "JumpReLU", "Gated", "Standard"]
)
@pytest.mark.parametrize("rescale", [False, True])
def test_reads_what_the_package_saves_of_its_training(tmp_path: Path, kind: str, rescale: bool) -> None:
    named: dict[str, Any] = {"d_in": D_MODEL, "d_sae": N_FEATURES, "dtype": "float32", "device": "cpu"}
    if "TopK" in kind:
        named |= {"k": 3, "rescale_acts_by_decoder_norm": rescale}
    if "Matryoshka" in kind:
        named["matryoshka_widths"] = [4, N_FEATURES]
    torch.manual_seed(1)
    config = getattr(package, f"{kind}TrainingSAEConfig")(**named)
    trained = getattr(package, f"{kind}TrainingSAE")(config)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    trained.save_inference_model(str(tmp_path / "saved"))
    _agrees_with_the_package(tmp_path / "saved")
