"""The loss of every kind with k active features, and its gradient by touching only those.

    π = x Wᵉᵀ + bᵉ, or (x − bᵈ) Wᵉᵀ + bᵉ        (v, i) = the codes kept of relu(π), k a row
    x̂_p = Σ_{i_k < p} v_k Wᵈ[i_k] + bᵈ [+ x Wˢᵀ]        for every prefix p of the features, at last all
    L = mean_p Σ‖x̂_p − t‖² / V + α · min(n_dead / k_aux, 1) · Σ‖ê − e‖² / V
    V = Σ‖t − mean t‖² over the batch

so the first term is a fraction of variance unexplained in the batch. ê is the same sum over the k_aux
strongest DEAD features, e = stop(t − x̂) (AuxK, Gao et al. 2024, §A.2). Its gradient reaches the encoder:
a dead feature whose encoder row gets none never comes back.

Loss and gradient are one pass over chunks of rows, because the gathered rows (chunk, k, d) of a small chunk
stay in the cache and a whole batch of them would be the largest array of the step. Autodiff of the same
formula would fill a dense (batch, n_features) gradient and multiply with it twice. Cost per row: 2·d·m for π
and 8·k·d for the rest.

That is for a CPU. On an accelerator, where products cost little and one chunk after another costs much, and
where features lie in slices over `model`, the same loss is taken by products of dense codes: 10·d·m a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import gcd
from operator import add

import jax
import jax.numpy as jnp

from trainer.architectures.codes import (
    SparseCodes,
    active_rows,
    auxiliary_k,
    kept_codes,
    preactivations,
    shared_strongest,
    strongest,
)
from trainer.architectures.terms import Terms, with_own_gradient
from trainer.parameters import Parameters
from trainer.placement import DATA, MODEL, count, rows_over_data

CHUNK = 8  # rows; on one core with d = 512 and k = 32 as fast as 4, faster than 16 and 32
MEMORY = 0.99  # of the running estimate of the threshold


@dataclass(frozen=True)
class Rule:
    """How codes are kept and what they must reconstruct; static in compiled code."""

    k: int
    shared: bool = False  # the batch keeps its k·batch strongest, not each row its k
    recall: float | None = None  # of the approximate top k
    auxiliary: float = 0.0
    prefixes: tuple[int, ...] = ()  # of the features, rising, all of them left out
    centred: bool = True  # bᵈ is taken off the input


def _chunks(array: jax.Array) -> jax.Array:
    size = gcd(array.shape[0], CHUNK)
    return array.reshape(-1, size, *array.shape[1:])


def _add_chunk(
    total: Parameters, decoder: jax.Array, rows: tuple[jax.Array, ...], weight: jax.Array,
    prefixes: tuple[int, ...],
) -> tuple[Parameters, jax.Array]:  # fmt: skip
    """Add the gradient of weight·Σ_p‖Σ_{i_k < p} v_k Wᵈ[i_k] − goal‖² over a chunk of rows to `total`; also
    the errors (chunk, prefixes + 1, d).

    `rows` are the encoder's input, the goal, v and i. The terms by way of `goal` are the caller's; the one of
    the decoder bias by way of π is in `encoder_bias`, from which the caller completes it.
    """
    seen, goal, values, indices = rows
    atoms, edges = decoder[indices], jnp.array(prefixes, jnp.int32)  # (chunk, k, d)
    group = (indices[:, :, None] >= edges[None, None, :]).sum(2)  # (chunk, k), the first prefix it is in
    inside = (group[:, None, :] == jnp.arange(len(prefixes) + 1)[None, :, None]).astype(values.dtype)
    parts = jnp.einsum("cgk,ckd->cgd", inside * values[:, None, :], atoms)
    errors = jnp.cumsum(parts, axis=1) - goal[:, None, :]
    slope = jnp.flip(jnp.cumsum(jnp.flip(2 * weight * errors, 1), axis=1), 1)
    along = (inside * jnp.einsum("cgd,ckd->cgk", slope, atoms)).sum(1)
    at_values = jnp.where(values > 0, along, 0.0)
    # a broadcast, where there is one prefix only, instead of a copy of every row
    at_atoms = jnp.take_along_axis(slope, group[:, :, None], axis=1) if prefixes else slope
    added = {
        "encoder": (at_values[:, :, None] * seen[:, None, :]).reshape(-1, seen.shape[1]),
        "encoder_bias": at_values.reshape(-1),
        "decoder": (values[:, :, None] * at_atoms).reshape(-1, goal.shape[1]),
    }
    return {name: total[name].at[indices.reshape(-1)].add(added[name]) for name in added}, errors


def _sweep(
    gradients: Parameters, decoder: jax.Array, rows: tuple[jax.Array, ...], weight: jax.Array,
    prefixes: tuple[int, ...],
) -> tuple[Parameters, jax.Array]:  # fmt: skip
    """`_add_chunk` over all rows; the errors are (batch, prefixes + 1, d). Rows in slices over `data` are
    swept slice by slice at once, each into a sum of its own."""

    def chunk(total: Parameters, part: tuple[jax.Array, ...]) -> tuple[Parameters, jax.Array]:
        return _add_chunk(total, decoder, part, weight, prefixes)

    def sweep(start: Parameters, part: tuple[jax.Array, ...]) -> tuple[Parameters, jax.Array]:
        total, errors = jax.lax.scan(chunk, start, tuple(_chunks(array) for array in part))
        return total, errors.reshape(-1, *errors.shape[2:])

    slices = count(DATA)
    if slices == 1:
        return sweep(gradients, rows)
    parts = tuple(rows_over_data(array.reshape(slices, -1, *array.shape[1:])) for array in rows)
    zeros = jax.tree.map(jnp.zeros_like, gradients)
    totals, errors = jax.vmap(sweep, in_axes=(None, 0))(zeros, parts)
    total = jax.tree.map(lambda known, added: known + added.sum(0), gradients, totals)
    return total, errors.reshape(-1, *errors.shape[2:])


def _auxiliary(
    gradients: Parameters, decoder: jax.Array, rows: tuple[jax.Array, ...], dead: jax.Array, weight: jax.Array
) -> tuple[Parameters, jax.Array]:
    """AuxK: `gradients` with its part added, and its loss. `rows`: encoder input, residual, π."""
    k_aux = auxiliary_k(*decoder.shape)
    weight = jnp.minimum(dead.sum().astype(jnp.float32) / k_aux, 1.0) * weight

    def revive(total: Parameters) -> tuple[Parameters, jax.Array]:
        codes = strongest(jnp.where(dead[None, :], rows[2], -jnp.inf), k_aux)
        total, errors = _sweep(total, decoder, (rows[0], rows[1], *codes), weight, ())
        return total, weight * jnp.sum(errors * errors)

    found: tuple[Parameters, jax.Array] = jax.lax.cond(
        dead.any(), revive, lambda total: (total, jnp.zeros_like(weight)), gradients
    )
    return found


def loss_and_gradients(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, rule: Rule
) -> tuple[jax.Array, Terms, Parameters]:
    """L, its terms, and dL/dparameters for x (batch, d_in), target (batch, d_out), dead (n_features,)."""
    if count(MODEL) > 1 or jax.default_backend() != "cpu":
        differentiate = jax.value_and_grad(dense_loss, has_aux=True)
        (value, terms), gradients = differentiate(parameters, x, target, dead, rule)
        return value, terms, gradients
    decoder, n_features = parameters["decoder"], parameters["decoder"].shape[0]
    pre = preactivations(parameters, x, centred=rule.centred)
    codes = shared_strongest(pre, rule.k) if rule.shared else strongest(pre, rule.k, rule.recall)
    variance = jnp.sum(jnp.square(target - target.mean(0, keepdims=True)))
    weight = 1 / jnp.maximum(variance, 1e-30)
    share = weight / (len(rule.prefixes) + 1)
    seen = x - parameters["decoder_bias"][None, :] if rule.centred else x
    goal = target - parameters["decoder_bias"][None, :]
    if "skip" in parameters:
        goal = goal - x @ parameters["skip"].T
    zeros = {name: jnp.zeros_like(parameters[name]) for name in ("encoder", "encoder_bias", "decoder")}
    gradients, errors = _sweep(zeros, decoder, (seen, goal, *codes), share, rule.prefixes)
    revival = jnp.float32(0)
    if rule.auxiliary > 0:
        rows = (seen, -errors[:, -1], pre)
        gradients, revival = _auxiliary(gradients, decoder, rows, dead, rule.auxiliary * weight)
    gradients |= _through_the_goal(parameters, gradients["encoder_bias"], x, 2 * share * errors.sum(1), rule)
    squared_error = jnp.sum(jnp.square(errors[:, -1]))
    reconstruction = share * jnp.sum(jnp.square(errors))
    terms = Terms(
        reconstruction, jnp.float32(0), revival,
        (codes.values > 0).sum(1).astype(jnp.float32).mean(), squared_error,
        active_rows(codes, n_features), _estimates(parameters, codes),
    )  # fmt: skip
    return reconstruction + revival, terms, gradients


def dense_loss(
    parameters: Parameters, x: jax.Array, target: jax.Array, dead: jax.Array, rule: Rule
) -> tuple[jax.Array, Terms]:
    """L and its terms by products of dense codes, for autodiff: nothing is gathered, so that features in
    slices over `model` exchange outputs (batch, d_out) only."""
    pre, decoder = preactivations(parameters, x, centred=rule.centred), parameters["decoder"]
    codes = shared_strongest(pre, rule.k) if rule.shared else strongest(pre, rule.k, rule.recall)
    weight = 1 / jnp.maximum(jnp.sum(jnp.square(target - target.mean(0, keepdims=True))), 1e-30)
    kept = kept_codes(pre, codes)
    shift = parameters["decoder_bias"][None, :] + (x @ parameters["skip"].T if "skip" in parameters else 0.0)
    outputs = accumulate(_segments(kept, decoder, (0, *rule.prefixes, decoder.shape[0])), add)
    errors = [output + shift - target for output in outputs]
    squares = [jnp.sum(jnp.square(error)) for error in errors]
    reconstruction = weight * sum(squares, start=jnp.float32(0)) / len(errors)
    revival = jnp.float32(0)
    if rule.auxiliary > 0:
        residual = jax.lax.stop_gradient(-errors[-1])
        revival = rule.auxiliary * weight * _dense_auxiliary(pre, decoder, residual, dead)
    terms = Terms(
        reconstruction, jnp.float32(0), revival,
        (kept > 0).sum(1).astype(jnp.float32).mean(), squares[-1],
        (kept > 0).sum(0, dtype=jnp.int32), _estimates(parameters, codes),
    )  # fmt: skip
    return reconstruction + revival, terms


def _segments(kept: jax.Array, decoder: jax.Array, edges: Sequence[int]) -> list[jax.Array]:
    """What the features between neighbouring edges write, each (batch, d_out)."""
    if count(MODEL) == 1:
        return [kept[:, start:end] @ decoder[start:end] for start, end in pairwise(edges)]
    place = jnp.arange(decoder.shape[0])[None, :]  # a cut through slices would move them
    return [
        jnp.where((start <= place) & (place < end), kept, 0.0) @ decoder for start, end in pairwise(edges)
    ]


def _dense_auxiliary(pre: jax.Array, decoder: jax.Array, residual: jax.Array, dead: jax.Array) -> jax.Array:
    """min(n_dead / k_aux, 1) · Σ‖ê − e‖²; no products where no feature is dead."""
    k_aux = auxiliary_k(*decoder.shape)

    def missed(pre: jax.Array, decoder: jax.Array) -> jax.Array:
        silent = jnp.where(dead[None, :], pre, -jnp.inf)
        guess = kept_codes(silent, strongest(silent, k_aux)) @ decoder
        return jnp.sum(jnp.square(guess - residual))

    share = jnp.minimum(dead.sum().astype(jnp.float32) / k_aux, 1.0)
    found: jax.Array = jax.lax.cond(dead.any(), missed, lambda *_: jnp.float32(0), pre, decoder)
    return share * found


def _through_the_goal(
    parameters: Parameters, at_bias: jax.Array, x: jax.Array, slope: jax.Array, rule: Rule
) -> Parameters:
    """Gradients of what shifts all outputs, from L's slope (batch, d_out) in them; zeros for estimates."""
    shift = slope.sum(0)
    found = {"decoder_bias": shift - at_bias @ parameters["encoder"] if rule.centred else shift}
    if "skip" in parameters:
        found["skip"] = slope.T @ x
    if "threshold" in parameters:
        found["threshold"] = jnp.zeros_like(parameters["threshold"])
    return found


def _estimates(parameters: Parameters, codes: SparseCodes) -> Parameters:
    """The running mean of the smallest code kept, for a dictionary that has a threshold."""
    if "threshold" not in parameters:
        return {}
    least = jnp.min(jnp.where(codes.values > 0, codes.values, jnp.inf))
    known = parameters["threshold"]
    least = jnp.where(jnp.isfinite(least), least, known)
    return {"threshold": jnp.where(known > 0, MEMORY * known + (1 - MEMORY) * least, least)}


sparse_loss = with_own_gradient(loss_and_gradients)
"""L and its terms, by `loss_and_gradients`; the last argument is the `Rule`."""
