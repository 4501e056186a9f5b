"""What a loss tells beside its value."""

from typing import NamedTuple

import jax


class Terms(NamedTuple):
    """Parts of a loss and which features fired; all for one batch."""

    reconstruction: jax.Array  # () as weighted in the loss
    sparsity: jax.Array  # () as weighted in the loss
    revival: jax.Array  # () the dead features' term as weighted in the loss (ghost gradients, AuxK)
    l0: jax.Array  # () mean active features per row
    squared_error: jax.Array  # () sum over the batch
    fired: jax.Array  # (n_features,) bool, active on any row
    estimates: dict[str, jax.Array]  # arrays that are measured, not learnt: they replace those of that name
