"""Every kind from its start through its steps: BatchTopK, Matryoshka and transcoders included."""

from types import ModuleType
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import TypeAdapter

from trainer.architectures import ARCHITECTURES, batchtopk, matryoshka, transcoder
from trainer.architectures.sparse import Rule, sparse_loss
from trainer.config import TrainingSettings
from trainer.firing import unknown
from trainer.kinds import BatchtopkSettings, DictionarySettings, MatryoshkaSettings, TranscoderSettings
from trainer.optimizer import initial_moments
from trainer.settings import Settings
from trainer.step import _step, held

D, M, K = 16, 32, 3
BATCHTOPK = BatchtopkSettings(architecture="batchtopk", features=M, k=K)
MATRYOSHKA = MatryoshkaSettings(architecture="matryoshka", features=M, k=K, prefixes=(8, 16))
TRANSCODER = TranscoderSettings(architecture="transcoder", features=M, k=K, skip=True)
X = jax.random.normal(jax.random.key(0), (50, D))
OUT = jnp.tanh(X[:, :10])
ALIVE = jnp.zeros(M, bool)


def test_each_kind_is_listed_under_its_own_name() -> None:
    kinds = get_args(get_args(DictionarySettings)[0])
    assert [get_args(kind.model_fields["architecture"].annotation)[0] for kind in kinds] == list(
        ARCHITECTURES
    )


@pytest.mark.parametrize(
    ("module", "settings", "rule"),
    [
        (batchtopk, BATCHTOPK, Rule(K, shared=True, auxiliary=BATCHTOPK.auxiliary)),
        (matryoshka, MATRYOSHKA, Rule(K, shared=True, auxiliary=MATRYOSHKA.auxiliary, prefixes=(8, 16))),
    ],
    ids=["batchtopk", "matryoshka"],
)
def test_loss_is_the_sparse_pass_and_codes_pass_the_threshold(
    module: ModuleType, settings: Settings, rule: Rule
) -> None:
    p = module.initialise(jax.random.key(1), X, X, settings)
    p["decoder_bias"] = p["decoder_bias"] + 0.3
    assert float(module.loss(p, X, X, ALIVE, settings)[0]) == float(sparse_loss(p, X, X, ALIVE, rule)[0])
    p["threshold"] = jnp.float32(0.7)
    pre = (np.asarray(X) - np.asarray(p["decoder_bias"])) @ np.asarray(p["encoder"]).T
    np.testing.assert_allclose(module.encode(p, X, settings), np.where(pre > 0.7, pre, 0), atol=1e-5)


def test_transcoder_starts_with_a_skip_of_zero_and_its_outputs_mean() -> None:
    p = transcoder.initialise(jax.random.key(1), X, OUT, TRANSCODER)
    assert {name: array.shape for name, array in p.items()} == {
        "encoder": (M, D), "encoder_bias": (M,), "decoder": (M, 10), "decoder_bias": (10,),
        "threshold": (), "skip": (10, D),
    }  # fmt: skip
    assert not p["skip"].any()
    np.testing.assert_allclose(p["decoder_bias"], OUT.mean(0), atol=1e-6)
    plain = TRANSCODER.model_copy(update={"skip": False})
    assert "skip" not in transcoder.initialise(jax.random.key(1), X, OUT, plain)


def test_transcoder_reads_x_as_it_is() -> None:
    p = transcoder.initialise(jax.random.key(1), X, OUT, TRANSCODER)
    rule = Rule(K, shared=True, auxiliary=TRANSCODER.auxiliary, centred=False)
    assert float(transcoder.loss(p, X, OUT, ALIVE, TRANSCODER)[0]) == float(
        sparse_loss(p, X, OUT, ALIVE, rule)[0]
    )
    pre = np.asarray(X) @ np.asarray(p["encoder"]).T
    np.testing.assert_allclose(transcoder.encode(p, X, TRANSCODER), np.maximum(pre, 0), atol=1e-5)


@pytest.mark.parametrize("backend", ["tpu", "gpu"])
def test_each_kinds_step_lowers_for_an_accelerator(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    told: dict[str, dict[str, Any]] = {name: {"k": K} for name in ARCHITECTURES}
    told["matryoshka"]["prefixes"] = [8, 16]
    told["topk"]["recall"] = 0.95
    told |= {name: {"coefficient": 1e-3} for name in ("relu", "gated", "jumprelu")}
    for weights in ("float32", "int8"):
        keys = {"steps": 9, "batch": len(X), "weights": weights, "rounding": "stochastic"}
        training = TrainingSettings.model_validate(keys)
        for name, own in told.items():
            settings = TypeAdapter(DictionarySettings).validate_python(
                {"architecture": name, "features": M, **own}
            )
            rows = jnp.concatenate([X, X], 1) if name == "transcoder" else X
            parameters = ARCHITECTURES[name].initialise(jax.random.key(0), X, X, settings)
            state = held(parameters, initial_moments(parameters), unknown(M), training)
            traced = _step.trace(state, rows, scales=jnp.ones(2), settings=settings, training=training)
            lowered = traced.lower(lowering_platforms=("cuda" if backend == "gpu" else backend,))
            assert "stablehlo.dot_general" in lowered.as_text()
