"""Training of sparse dictionaries (sparse autoencoders) in JAX on the residual stream of a transformers
model.

A house of its own beside `surgery`: of surgery it imports `errors`, `checkpoint`, `demo`, `dictionary`,
`hook_point`, `hub` and the YAML reader of `recipe` only, and torch in one room only (`subject`). From the
data to the folder:

    sources -> subject | harvest_jax -> buffer, feed -> architectures, step, optimizer -> metrics, save
"""

__version__ = "0.1.0"
