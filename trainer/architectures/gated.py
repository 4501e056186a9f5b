"""Gated dictionary: one pre-activation decides whether a feature fires, a rescaled one how strongly.

    π = x Wᵉᵀ + bᵍ        h = [π > 0] ⊙ relu(eʳ ⊙ x Wᵉᵀ + bᵐ)        x̂ = h Wᵈ + bᵈ
    L = mean R(x̂) + 2c · mean_rows Σ_j S(relu(π_j)) + mean R(relu(π) stop(Wᵈ) + stop(bᵈ)) + γ · ghost

R, S, ghost and the units of c are those of `trainer.architectures.relu`, ghost with softplus(π). The penalty
acts on the gate alone, so magnitudes do not shrink; the second reconstruction, through a decoder that it
cannot change, is what trains the gate, and is why the seed doubles c. Source: Rajamanoharan et al. 2024,
Improving dictionary learning with gated sparse autoencoders.
"""

import jax
import jax.numpy as jnp

from trainer.architectures.relu import GhostWeights, add_ghost, reconstruction_error, sparsity_penalty
from trainer.architectures.terms import Terms, with_own_gradient
from trainer.kinds import GatedSettings
from trainer.parameters import Parameters, decode_columns, orthogonal_encoder, unit_rows


def initialise(key: jax.Array, sample: jax.Array, target: jax.Array, settings: GatedSettings) -> Parameters:
    """Orthogonal encoder, decoder its rows at unit norm, everything else zero."""
    encoder = orthogonal_encoder(key, settings.features, target.shape[1])
    nothing = jnp.zeros(settings.features, jnp.float32)
    return {
        "encoder": encoder,
        "gate_bias": nothing,
        "magnitude_bias": nothing + 0.0,
        "log_magnitude": nothing + 0.0,
        "decoder": unit_rows(encoder),
        "decoder_bias": jnp.zeros(target.shape[1], jnp.float32),
    }


def _codes(parameters: Parameters, projected: jax.Array) -> tuple[jax.Array, jax.Array]:
    """π and h of Wᵉxᵀ, all (n_features, batch)."""
    gate = projected + parameters["gate_bias"][:, None]
    size = projected * jnp.exp(parameters["log_magnitude"])[:, None] + parameters["magnitude_bias"][:, None]
    return gate, jnp.where(gate > 0, jax.nn.relu(size), 0.0)


def encode(parameters: Parameters, x: jax.Array, settings: GatedSettings) -> jax.Array:
    """h (batch, n_features)."""
    return _codes(parameters, parameters["encoder"] @ x.T)[1].T


def _objective(
    parameters: Parameters, x: jax.Array, target: jax.Array, settings: GatedSettings
) -> tuple[jax.Array, tuple[Terms, jax.Array, jax.Array]]:
    """The loss but for the ghost term; also its terms, the residual and R."""
    gate, codes = _codes(parameters, parameters["encoder"] @ x.T)
    open_gate, decoder, bias = jax.nn.relu(gate), parameters["decoder"], parameters["decoder_bias"]
    output = decode_columns(decoder, codes) + bias[None, :]
    error = reconstruction_error(output, target)
    frozen, frozen_bias = jax.lax.stop_gradient((decoder, bias))
    opened = decode_columns(frozen, open_gate) + frozen_bias[None, :]
    reconstruction = error.mean() + reconstruction_error(opened, target).mean()
    penalty = sparsity_penalty(open_gate, settings.sparsity, settings.epsilon).sum(1)
    sparsity = 2 * settings.coefficient * penalty.sum() / len(x)
    rows_active = (codes > 0).astype(jnp.float32).sum(1)  # (n_features,)
    terms = Terms(
        reconstruction, sparsity, jnp.float32(0), rows_active.sum() / len(x),
        jnp.sum(jnp.square(output - target)), rows_active.astype(jnp.int32), {},
    )  # fmt: skip
    return reconstruction + sparsity, (terms, target - output, error)


def loss_and_gradients(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, settings: GatedSettings
) -> tuple[jax.Array, Terms, Parameters]:
    """L, its terms, and dL/dparameters."""
    differentiate = jax.value_and_grad(_objective, has_aux=True)
    (value, (terms, residual, error)), gradients = differentiate(parameters, x, target, settings)
    weights, without_ghost = (
        GhostWeights(arrays["encoder"], arrays["gate_bias"], arrays["decoder"])
        for arrays in (parameters, gradients)
    )
    found, revival = add_ghost(without_ghost, weights, (x, residual, error), dead, settings.ghost)
    gradients |= {"encoder": found.encoder, "gate_bias": found.bias, "decoder": found.decoder}
    return value + revival, terms._replace(revival=revival), gradients


loss = with_own_gradient(loss_and_gradients)
"""L and its terms for normalised activations x (batch, d) and dead features (n_features,) bool."""
