"""How long sparse coding takes beside what the memory and the matrix products allow.

    python benchmarks/sparse_coding.py                        # the size of Phi-3's dictionary: 49,152 x 3,072
    python benchmarks/sparse_coding.py --features 8192 --d-model 512 --repeats 9

Every number is the least CPU time, all threads together, of several runs that take turns: other work on the
machine only ever adds to it, and to all alike. Look at the ratios. OMP_NUM_THREADS says how many threads.

    read        one product of the whole dictionary with a vector: what a pass over its memory costs
    pursuit     surgery.linalg.pursuit.gradient_pursuit, k distinct features, row norms known
    three-pass  the same in dense form, as the papers write it: three passes a step
    OMP         sklearn.linear_model.orthogonal_mp: about 11 reads, so 20 times faster would be half a
                read (docs/dictionaries.md); one vector of a batch is that much faster
    FISTA       surgery.linalg.lasso.lasso_path, the codes of 1 to 8 features
    batch       256 vectors together, beside k plain matrix products of the same size
    opening     a SAELens folder of the same size in a fresh process, and two decoder rows read from it
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from surgery.linalg.atoms import Atoms
from surgery.linalg.lasso import lasso_path
from surgery.linalg.pursuit import gradient_pursuit, gradient_pursuits

K, BATCH = 4, 256
_OPENING = """
import resource, sys, time
from surgery import open_dictionary
open_dictionary(sys.argv[2])  # a small one first: imports are not what is measured
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
rows = open_dictionary(sys.argv[1]).W_dec[[7, -1]].copy()
seconds = time.process_time() - started
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6)
"""


def fastest(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """CPU seconds of the fastest of several runs of each, taking turns, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            started = time.process_time()
            run()
            if turn:
                times[name].append(time.process_time() - started)
    return {name: min(each) for name, each in times.items()}


def three_pass(rows: np.ndarray, vector: np.ndarray, k: int) -> np.ndarray:
    """Gradient pursuit with dense weights: residual, products, step, each over the whole dictionary."""
    weights = np.zeros(len(rows), dtype=rows.dtype)
    for _ in range(k):
        residual = vector - weights @ rows
        products = rows @ residual
        used = weights != 0
        used[np.argmax(np.abs(products))] = True
        gradient = np.where(used, products, 0).astype(rows.dtype)
        step = gradient @ rows
        weights += (step @ residual) / (step @ step) * gradient
    return weights


def scikit_learn(rows: np.ndarray, norms: np.ndarray, vector: np.ndarray) -> Callable[[], object]:
    """scikit-learn's OMP on unit columns, laid out as it wants them."""
    from sklearn.linear_model import orthogonal_mp

    columns = (rows / norms[:, None].astype(np.float32)).T
    return lambda: orthogonal_mp(columns, vector, n_nonzero_coefs=K)


def opening(rows: np.ndarray) -> tuple[float, float]:
    """Seconds and megabytes to open a dictionary of this size and read two rows."""
    with tempfile.TemporaryDirectory() as place:
        for name, some in (("large", rows), ("small", rows[:8])):
            folder = Path(place) / name
            folder.mkdir()
            # Half the features, so that encoder and decoder together have the size of `rows`.
            half = some[: max(8, len(some) // 2)]
            tensors = {
                "W_enc": np.ascontiguousarray(half.T),
                "W_dec": half,
                "b_enc": np.zeros(len(half), np.float32),
                "b_dec": np.zeros(rows.shape[1], np.float32),
            }
            save_file(tensors, folder / "sae_weights.safetensors")
            (folder / "cfg.json").write_text(json.dumps({"architecture": "standard", "metadata": {}}))
        command = [sys.executable, "-c", _OPENING, f"{place}/large", f"{place}/small"]
        seconds, megabytes = subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.split()
    return float(seconds), float(megabytes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=int, default=49_152)
    parser.add_argument("--d-model", type=int, default=3072)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--without-omp", action="store_true", help="scikit-learn wants memory")
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((asked.features, asked.d_model), dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1).astype(np.float64)
    atoms = Atoms(rows, norms)
    vector = rng.standard_normal(asked.d_model)
    vectors = rng.standard_normal((BATCH, asked.d_model))
    single = vectors.astype(np.float32)
    gigabytes = rows.nbytes / 1e9

    assert len(gradient_pursuit(atoms, vector, K).features) == K
    narrow = vector.astype(np.float32)
    quick = fastest(
        {
            "read": lambda: rows @ narrow,
            "pursuit": lambda: gradient_pursuit(atoms, vector, K),
            "dense": lambda: three_pass(rows, narrow, K),
            "lasso": lambda: lasso_path(atoms, vector, 2 * K),
        },
        asked.repeats,
    )
    slow = fastest(
        {"products": lambda: single @ rows.T, "together": lambda: gradient_pursuits(atoms, vectors, K)},
        max(2, asked.repeats // 3),
    )
    read, pursuit, dense = quick["read"], quick["pursuit"], quick["dense"]
    together, bound = slow["together"], K * slow["products"]
    print(f"{asked.features:,} x {asked.d_model:,} float32, {gigabytes:.2f} GB, k = {K}\n")
    print(f"read one pass        {read:8.3f} s   {gigabytes / read:.1f} GB/s")
    print(f"pursuit              {pursuit:8.3f} s   {pursuit / (K * read):.2f} of {K} reads (aim <= 1.3)")
    print(f"three-pass form      {dense:8.3f} s   {dense / pursuit:.1f} x pursuit (aim >= 3)")
    if not asked.without_omp:
        theirs = fastest({"omp": scikit_learn(rows, norms, narrow)}, 2)["omp"]
        print(f"scikit-learn's OMP   {theirs:8.3f} s   {theirs / pursuit:.1f} x pursuit (aim >= 20)")
        print(f"{'':32s}{theirs / read:.1f} x one bare read")
        print(f"{'':32s}{theirs / together * BATCH:.0f} x one of {BATCH} together")
        print(f"FISTA, 1 to {2 * K}        {quick['lasso']:8.3f} s   {quick['lasso'] / read:.1f} reads")
    print(f"{BATCH} vectors          {together:8.3f} s   {together / bound:.2f} of {K} products (aim <= 1.5)")
    seconds, megabytes = opening(rows)
    print(f"open, read two rows  {seconds:8.4f} s   {megabytes:.0f} MB more memory  (aim < 0.05 s, < 100 MB)")
    print(f"\npeak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
