"""CPU seconds until a TopK dictionary reaches a fraction of variance unexplained on real activations.

    python benchmarks/trainer_race.py harvest residuals.npz      residuals of the demo model, once
    python benchmarks/trainer_race.py surgery residuals.npz      momentumless Adam, the default
    python benchmarks/trainer_race.py momentum residuals.npz     the same with training.momentum 0.9
    python benchmarks/trainer_race.py sae_lens residuals.npz     where sae-lens is installed

Both begin at the same weights and see the same batches in the same order; sae-lens runs its own SAETrainer
step with its default Adam, ours the step of `surgery-train fit`. Each tries the same learning rates, held
constant after 100 steps of warm-up, and every target is given with the rate that reached it soonest. Measured
are held-out rows, every 25 steps, outside the clock. Pin to one core (`taskset -c 0`, OMP_NUM_THREADS=1).
"""

import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

FEATURES, K, BATCH, STEPS, WARMUP, EVERY = 1024, 16, 1024, 1500, 100, 25
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
TARGETS = (0.2, 0.1, 0.07, 0.05, 0.04, 0.03)
Arrays = dict[str, np.ndarray]
Advance = Callable[[np.ndarray], None]  # one step on a batch
Weights = Callable[[], Arrays]  # encoder, encoder_bias, decoder, decoder_bias as they are


def harvest(path: str) -> None:
    """Residuals before block 4 of the demo model at mean norm √d: train and held-out rows."""
    from pathlib import Path

    from trainer.config import HookSettings, ModelSettings
    from trainer.reader import read_configs
    from trainer.sources import documents, model_folder
    from trainer.subject.harvest import harvest as batches
    from trainer.subject.model import load_subject, tokenize
    from trainer.tokens import rows_of

    config = read_configs(Path("recipes/train/demo_refuser.yaml"))[""]
    model = ModelSettings(source="demo:refuser")
    subject = load_subject(model_folder(model, Path()), model)
    found = {}
    for name, sources in (("train", config.data.train[:2]), ("held_out", config.data.held_out)):
        rows = rows_of(tokenize(subject, documents(sources, Path()), config.data), 128, packed=False)
        parts = batches(subject, rows, HookSettings(layer=4), config.data)
        found[name] = np.concatenate([np.asarray(hidden)[keep] for hidden, keep in parts])
    scale = np.sqrt(found["train"].shape[1]) / np.linalg.norm(found["train"], axis=1).mean()
    np.savez(path, **{name: rows * np.float32(scale) for name, rows in found.items()})


def start(rows: np.ndarray) -> Arrays:
    """Unit rows that encoder and decoder share, the mean as decoder bias."""
    decoder = np.random.default_rng(0).standard_normal((FEATURES, rows.shape[1])).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    nothing = np.zeros(FEATURES, np.float32)
    return {"encoder": decoder, "encoder_bias": nothing, "decoder": decoder, "decoder_bias": rows.mean(0)}


def batches_of(rows: np.ndarray) -> Iterator[np.ndarray]:
    """The same random batches for everyone."""
    rng = np.random.default_rng(1)
    for _ in range(STEPS):
        yield rows[rng.integers(0, len(rows), BATCH)]


def unexplained(p: Arrays, rows: np.ndarray) -> float:
    """FVU of rows (n, d) by a plain TopK pass."""
    pre = (rows - p["decoder_bias"]) @ p["encoder"].T + p["encoder_bias"]
    least = np.partition(pre, -K, axis=1)[:, -K, None]
    output = np.where(pre >= least, np.maximum(pre, 0), 0) @ p["decoder"] + p["decoder_bias"]
    return float(((rows - output) ** 2).sum() / ((rows - rows.mean(0)) ** 2).sum())


def surgery(p: Arrays, rate: float, momentum: float = 0.0) -> tuple[Advance, Weights]:
    """This trainer's step."""
    import jax
    import jax.numpy as jnp

    from trainer.config import TrainingSettings
    from trainer.firing import unknown
    from trainer.kinds import TopkSettings
    from trainer.normalization import Scales
    from trainer.optimizer import initial_moments
    from trainer.step import held, make_step

    training = TrainingSettings(
        steps=10 * STEPS, batch=BATCH, learning_rate=rate, warmup=WARMUP, momentum=momentum
    )
    settings = TopkSettings(architecture="topk", features=FEATURES, k=K)
    step = make_step(settings, training, Scales(1.0, 1.0))

    def fresh() -> list:
        arrays = {name: jnp.array(array, copy=True) for name, array in p.items()}
        return [held(arrays, initial_moments(arrays, momentum), unknown(FEATURES), training)]

    jax.block_until_ready(step(fresh()[0], jnp.zeros((BATCH, p["decoder"].shape[1]))))  # compiles
    state = fresh()

    def advance(rows: np.ndarray) -> None:
        state[0], _ = step(state[0], jnp.asarray(rows))
        jax.block_until_ready(state[0])

    return advance, lambda: {name: np.asarray(array) for name, array in state[0].parameters.items()}


def sae_lens(p: Arrays, rate: float) -> tuple[Advance, Weights]:
    """SAETrainer's own step on a TopKTrainingSAE."""
    import torch
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    width = p["decoder"].shape[1]
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=width, d_sae=FEATURES, k=K))
    with torch.no_grad():
        sae.W_enc.copy_(torch.from_numpy(p["encoder"].T.copy()))
        sae.W_dec.copy_(torch.from_numpy(p["decoder"]))
        sae.b_enc.zero_()
        sae.b_dec.copy_(torch.from_numpy(p["decoder_bias"]))
    config = SAETrainerConfig(
        total_training_samples=STEPS * BATCH,
        train_batch_size_samples=BATCH,
        lr=rate,
        lr_end=rate,
        lr_warm_up_steps=WARMUP,
    )
    trainer = SAETrainer(config, sae, iter(()))

    def weights() -> Arrays:
        names = {"encoder_bias": sae.b_enc, "decoder": sae.W_dec, "decoder_bias": sae.b_dec}
        found = {name: array.detach().numpy() for name, array in names.items()}
        norms = np.linalg.norm(found["decoder"], axis=1)  # its codes are ranked by them
        found |= {"decoder": found["decoder"] / norms[:, None], "encoder_bias": found["encoder_bias"] * norms}
        return {**found, "encoder": sae.W_enc.detach().numpy().T * norms[:, None]}

    def advance(rows: np.ndarray) -> None:
        trainer._train_step(sae, torch.from_numpy(rows))
        trainer.n_training_steps += 1

    return advance, weights


def race(make: Callable[[Arrays, float], tuple[Advance, Weights]], data: Arrays) -> None:
    """A line for each target: the least CPU seconds of all rates, and that rate."""
    best: dict[float, tuple[float, int, float]] = {}
    for rate in RATES:
        advance, weights = make(start(data["train"]), rate)
        spent = 0.0
        for step, rows in enumerate(batches_of(data["train"]), start=1):
            begun = time.process_time()
            advance(rows)
            spent += time.process_time() - begun
            if step % EVERY == 0:
                fvu = unexplained(weights(), data["held_out"][:8192])
                for target in TARGETS:
                    known = best.get(target, (float("inf"), 0, 0.0))
                    if fvu <= target and spent < known[0]:
                        best[target] = (spent, step, rate)
        print(f"rate {rate:g}: FVU {fvu:.4f} after {STEPS} steps, {spent:.1f} s", flush=True)
    print(f"{'FVU':>6}{'CPU s':>9}{'steps':>8}{'rate':>9}")
    for target in TARGETS:
        seconds, steps, rate = best.get(target, (float("nan"), 0, float("nan")))
        print(f"{target:6.2f}{seconds:9.2f}{steps:8d}{rate:9g}")


def main(what: str, path: str) -> None:
    """Harvest, or run one library."""
    for name, value in ((-8, 1), (-4, 0), (-1, 2**31 - 1)):  # malloc as `surgery-train` has it
        ctypes.CDLL(None).mallopt(name, value)
    if what == "harvest":
        harvest(path)
        return
    with np.load(path) as file:
        data = {name: file[name] for name in ("train", "held_out")}
    print(f"{len(data['train']):,} rows of {data['train'].shape[1]}, {FEATURES:,} features, k = {K}")
    race({"surgery": surgery, "momentum": partial(surgery, momentum=0.9), "sae_lens": sae_lens}[what], data)


if __name__ == "__main__":
    main(*sys.argv[1:])
