"""One TopK training step of other libraries on the problem of `surgery-train bench`.

    surgery-train bench --peers PYTHON        of an environment where these libraries are installed

Each gets the same batch and initial weights, Adam with one learning rate, and its own step as its own
trainer runs it (unit rows and projected gradients where it does that). The first step's fraction of
variance unexplained must agree with ours to 1e-5. Times are CPU time of the process;
pin it to one core (`taskset -c 0`) with OMP_NUM_THREADS=1. A library that is not installed is left out.
"""

import ctypes
import sys
import time
import types
from collections.abc import Callable

import numpy as np
import torch

REPEATS = 12
Step = Callable[[], None]


def fvu(x: torch.Tensor, output: torch.Tensor) -> float:
    """Fraction of variance unexplained in one batch."""
    return float((x - output).square().sum() / (x - x.mean(0)).square().sum())


def sae_lens(problem: dict[str, torch.Tensor], k: int) -> tuple[Step, float]:
    """TopKTrainingSAE: forward, backward, clipped gradients, Adam."""
    from sae_lens.saes.sae import TrainStepInput
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    x, decoder = problem["x"], problem["decoder"]
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=x.shape[1], d_sae=len(decoder), k=k))
    with torch.no_grad():
        sae.W_enc.copy_(problem["encoder"].T)
        sae.W_dec.copy_(decoder)
        sae.b_enc.zero_()
        sae.b_dec.copy_(problem["decoder_bias"])
    optimiser = torch.optim.Adam(sae.parameters(), lr=1e-4)
    alive = torch.zeros(len(decoder), dtype=torch.bool)

    def step() -> None:
        optimiser.zero_grad()
        given = TrainStepInput(
            sae_in=x, coefficients={}, dead_neuron_mask=alive, n_training_steps=0, is_logging_step=False
        )
        sae.training_forward_pass(given).loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimiser.step()

    with torch.no_grad():
        return step, fvu(x, sae(x))


def dictionary_learning(problem: dict[str, torch.Tensor], k: int) -> tuple[Step, float]:
    """TopKTrainer.update."""
    for name in ("nnsight", "circuitsvis", "umap", "zstandard", "plotly"):
        sys.modules.setdefault(name, types.ModuleType(name))  # what the package imports and a step never uses
    sys.modules["nnsight"].LanguageModel = object  # type: ignore[attr-defined]
    from dictionary_learning.trainers.top_k import TopKTrainer

    x, decoder = problem["x"], problem["decoder"]
    trainer = TopKTrainer(
        steps=1_000_000, activation_dim=x.shape[1], dict_size=len(decoder), k=k, layer=0, lm_name="none",
        lr=1e-4, warmup_steps=0, device="cpu",
    )  # fmt: skip
    with torch.no_grad():
        trainer.ae.encoder.weight.copy_(problem["encoder"])
        trainer.ae.encoder.bias.zero_()
        trainer.ae.decoder.weight.copy_(decoder.T)
        trainer.ae.b_dec.copy_(problem["decoder_bias"])
        first = fvu(x, trainer.ae(x))
    turn = iter(range(1, 10**6))  # its step 0 would set the bias anew
    return lambda: trainer.update(next(turn), x), first


def sparsify(problem: dict[str, torch.Tensor], k: int) -> tuple[Step, float]:
    """SparseCoder: unit rows, forward, backward, projected gradients, Adam; eager."""
    from sparsify import SparseCoder, SparseCoderConfig

    x, decoder = problem["x"], problem["decoder"]
    coder = SparseCoder(x.shape[1], SparseCoderConfig(num_latents=len(decoder), k=k), decoder=True)
    with torch.no_grad():
        coder.encoder.weight.copy_(problem["encoder"])
        coder.encoder.bias.zero_()
        coder.W_dec.copy_(decoder)
        coder.b_dec.copy_(problem["decoder_bias"])
    optimiser = torch.optim.Adam(coder.parameters(), lr=1e-4)

    def step() -> None:
        coder.set_decoder_norm_to_unit_norm()
        coder(x).fvu.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()

    with torch.no_grad():
        return step, fvu(x, coder(x).sae_out)


def timed(step: Step) -> tuple[float, float]:
    """(least, median) milliseconds after two steps that do not count."""
    spent = []
    for _ in range(REPEATS + 2):
        begun = time.process_time()
        step()
        spent.append(1000 * (time.process_time() - begun))
    return min(spent[2:]), float(np.median(spent[2:]))


def main(path: str) -> None:
    """A line for each library."""
    for name, value in ((-8, 1), (-4, 0), (-1, 2**31 - 1)):  # malloc as `surgery-train bench` has it
        ctypes.CDLL(None).mallopt(name, value)
    torch.manual_seed(0)
    with np.load(path) as file:
        problem = {name: torch.from_numpy(file[name]) for name in file.files}
    k = int(problem.pop("k"))
    print(f"{'library':24}{'min ms':>9}{'median ms':>11}{'first FVU':>14}")
    for make in (sae_lens, dictionary_learning, sparsify):
        try:
            step, first = make(problem, k)
        except ImportError as error:
            print(f"{make.__name__:24}not measured: {error}")
            continue
        least, median = timed(step)
        print(f"{make.__name__:24}{least:9.0f}{median:11.0f}{first:14.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
