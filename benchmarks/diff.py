"""How long `surgery diff` takes on a base model and its ablation, beside reading both with `cmp`.

    python benchmarks/diff.py --gigabytes 4 [--folder DIR] [--modeldelta "python -m modeldelta.cli"]

Makes a Llama-shaped bfloat16 checkpoint of about that size and its ablation along a random direction, then
times, in turn and `--repeats` times each: `cmp` of every weight file with an identical copy (which reads both
to the end), `surgery diff` (a whole process, imports included), and modeldelta where a command for it is
given. Prints medians, their ratios, peak memory, and how well direction and strength were recovered.

Where the time goes, on one core at d_model 2560 in bfloat16, µs for each tile of 65,536 changed elements:
reading both sides 40, widening 24, the sketch 18 to 24, three sums of squares 10, largest and smallest 7, the
difference 6, counting what changed 6, the kept columns 3; what Python does between them comes to about 30.
Each is one pass of numpy over a core's own cache; one pass for all of them would need compiled code. Mapping
files instead of reading them saved the copy and lost it again in the widening; where bytes are only compared
it saved 3 % of the whole, and a file cut short meanwhile would end the process. No faster were tiles of half
and of twice this size, one product for the sketches of both sides, and ‖A‖² and ⟨A, Δ⟩ from one call. Two
threads took 1.3 times as long as one, handing the interpreter's lock over; two processes take 0.6. With them
4 GB take 1.45 times as long as `cmp` (1.54 s for 1.06 s, two cores to themselves, 24 November 2026); the
peak memory printed is that of one process, all together held 145 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

D, D_MLP, VOCABULARY, HEADS = 2560, 6912, 64000, 20
POOL = 1 << 25


def shapes(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a Llama of this depth."""
    yield "model.embed_tokens.weight", (VOCABULARY, D)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (D,)
        yield prefix + "mlp.down_proj.weight", (D, D_MLP)
        yield prefix + "mlp.gate_proj.weight", (D_MLP, D)
        yield prefix + "mlp.up_proj.weight", (D_MLP, D)
        yield prefix + "post_attention_layernorm.weight", (D,)
        yield prefix + "self_attn.k_proj.weight", (D // 4, D)
        yield prefix + "self_attn.o_proj.weight", (D, D)
        yield prefix + "self_attn.q_proj.weight", (D, D)
        yield prefix + "self_attn.v_proj.weight", (D // 4, D)
    yield "model.norm.weight", (D,)
    yield "lm_head.weight", (VOCABULARY, D)


def ablated(name: str, value: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """The tensor after an orthogonal ablation, in float32, rounded once."""
    wide = value.float()
    if "o_proj" in name or "down_proj" in name:
        return (wide - torch.outer(r, r @ wide)).to(value.dtype)
    return (wide - torch.outer(wide @ r, r)).to(value.dtype) if "embed" in name else value


def make_pair(folder: Path, gigabytes: float) -> torch.Tensor:
    """Write base, copy and edited; returns the direction. Weights are cut from one pool of normal numbers."""
    generator = torch.Generator().manual_seed(0)
    pool = (0.02 * torch.randn(POOL, generator=generator)).bfloat16()
    r = torch.nn.functional.normalize(torch.randn(D, generator=generator), dim=0)
    layers = max(1, round((gigabytes * 1e9 - 4 * VOCABULARY * D) / 2 / (3 * D * D_MLP + 2.5 * D * D)))
    config = {
        "model_type": "llama",
        "hidden_size": D,
        "intermediate_size": D_MLP,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "vocab_size": VOCABULARY,
    }
    files: list[dict[str, tuple[int, ...]]] = [{}]
    for name, shape in shapes(layers):
        if sum(torch.Size(each).numel() for each in files[-1].values()) > 5e8:
            files.append({})
        files[-1][name] = shape
    table = {}
    for side in ("base", "copy", "edited"):
        (folder / side).mkdir()
    for number, part in enumerate(files):
        file = f"model-{number + 1:05d}-of-{len(files):05d}.safetensors"
        tensors = {name: _cut(pool, shape, generator) for name, shape in part.items()}
        save_file(tensors, folder / "base" / file, metadata={"format": "pt"})
        save_file(tensors, folder / "copy" / file, metadata={"format": "pt"})
        edited = {name: ablated(name, value, r) for name, value in tensors.items()}
        save_file(edited, folder / "edited" / file, metadata={"format": "pt"})
        table |= dict.fromkeys(part, file)
    for side in ("base", "copy", "edited"):
        index = {"metadata": {"total_size": 0}, "weight_map": table}
        (folder / side / "model.safetensors.index.json").write_text(json.dumps(index))
        (folder / side / "config.json").write_text(json.dumps(config))
    return r


def _cut(pool: torch.Tensor, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    size, parts = torch.Size(shape).numel(), []
    while size:
        start = int(torch.randint(0, POOL // 2, (1,), generator=generator))
        part = pool[start : start + size]
        parts.append(part)
        size -= len(part)
    return torch.cat(parts).view(shape)


def run(command: list[str]) -> tuple[float, float]:
    """Wall seconds of a command, and CPU seconds of it and its children."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, cpu


def peak_megabytes(command: list[str]) -> float:
    """Largest resident set of a command, from a fresh parent that runs nothing else."""
    code = (
        "import resource,subprocess,sys;subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL);"
        "sys.stdout.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    return float(done.stdout)


def recovered(command: list[str], folder: Path, r: torch.Tensor) -> str:
    """How near the recovered direction and strength are to the truth."""
    saved = folder / "found.safetensors"
    done = subprocess.run(
        [*command, "--json", "--save-direction", str(saved)], capture_output=True, text=True, check=False
    )
    verdict = json.loads(done.stdout)["verdict"]
    from safetensors.torch import load_file

    cosine = abs(float(load_file(saved)["direction"].double() @ r.double()))
    strengths = [value for values in verdict["strengths"].values() for value in values]
    worst = max(abs(value - 1) for value in strengths)
    return f"{verdict['kind']} ({verdict['effect']}), cosine {cosine:.6f}, |λ − 1| at most {worst:.4f}"


def main() -> None:
    """Make the pair, time everything, print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--gigabytes", type=float, default=4.0)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--folder", type=Path, help="where to work; default a temporary folder")
    options.add_argument("--modeldelta", help="command that takes two folders")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        r = make_pair(folder, chosen.gigabytes)
        measure(folder, r, chosen.repeats, chosen.modeldelta)


def measure(folder: Path, r: torch.Tensor, repeats: int, modeldelta: str | None) -> None:
    """Time the commands in turn, so that a busy machine is busy for all of them."""
    base, edited = str(folder / "base"), str(folder / "edited")
    files = sorted(path.name for path in (folder / "base").glob("*.safetensors"))
    script = " && ".join(f"cmp {base}/{file} {folder}/copy/{file}" for file in files)
    surgery = [sys.executable, "-m", "surgery", "diff", base, edited]
    commands = {"cmp": ["sh", "-c", script], "surgery diff": surgery}
    if modeldelta:
        commands["modeldelta"] = [*shlex.split(modeldelta), base, edited]
    size = sum((folder / "base" / file).stat().st_size for file in files) / 1e9
    say(f"{size:.2f} GB in {len(files)} files, {len(os.sched_getaffinity(0))} cores, {repeats} repeats")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for command in commands.values():
        if command is not commands.get("modeldelta"):
            run(command)  # fills the page cache
    for repeat in range(repeats):
        for name, command in commands.items():
            if name != "modeldelta" or repeat == 0:
                times[name].append(run(command))
    wall = {name: statistics.median(each for each, _ in found) for name, found in times.items()}
    for name, found in times.items():
        cpu = statistics.median(each for _, each in found)
        spread = f"{min(found)[0]:.2f}–{max(found)[0]:.2f}"
        ratio = wall[name] / wall["cmp"]
        work = cpu / statistics.median(each for _, each in times["cmp"])
        say(
            f"{name:14} {wall[name]:8.2f} s ({spread})   CPU {cpu:7.2f} s"
            f"   {ratio:6.2f} × cmp, {work:.2f} × its CPU"
        )
    say(f"peak memory    {peak_megabytes(surgery):8.0f} MB")
    say(recovered(surgery, folder, r))


def say(text: str) -> None:
    """One line of the table."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
