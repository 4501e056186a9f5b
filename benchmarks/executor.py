"""How long the executor takes beside a plain copy, and how much memory: python benchmarks/executor.py --help.

Source: a synthetic Llama checkpoint in bfloat16, sharded, of which the embedding and every layer's o_proj and
down_proj are edited (37 % of the bytes in the default shape). Each round runs every method once, in turn,
into a fresh folder that is removed afterwards; the first round is dropped. A ratio is the median over the
rounds of a method's time by the time of `cp -r` in the same round. The page cache is as the rounds leave it:
the source is in it where memory suffices, nothing is flushed but where the method says so.

    cp                 cp -r --reflink=never
    cp + fsync         the same, then `sync` of every file: what the disk takes for these bytes
    cp + fsync + sums  the same, then `sha256sum` of every file: what the usual tools take for all of that
    execute            the executor: no hashes, no fsync
    execute + sums     the executor with journal, SHA-256 of every file, fsync of everything
    audit              every edited element, the leak, and every other byte, read back from both folders
    transformers       from_pretrained, the same projection in memory, save_pretrained (import not counted)
    mergekit           `mergekit-yaml` passthrough of the source, no edit (only where it is installed)

Each method begins with as much free memory as it fills, touched just before: a virtual machine may have given
its memory back, and fetching it anew can take a copy five times as long.

On two cores to themselves (24 November 2026), as multiples of `cp`:

                    1.8 GB   4.0 GB   4.0 GB, memory not touched before
    cp                1        1        1
    cp + fsync        1.91     1.60     0.77
    execute           1.05     1.08     0.49
    execute + sums    2.84     2.34     1.08
    audit             3.03     2.95     1.14

One core alone takes 1.8 times `cp` to copy and project, and as much again to hash (1.8 GB/s), so two cores
cannot do all of it in less than 1.8. `cp + fsync + sums` takes 10.6: `sha256sum` does not use
the processor's own instructions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from surgery.checkpoint.layout import Checkpoint, open_checkpoint
from surgery.checkpoint.staging import resumable_folder
from surgery.checkpoint.workers import available_cores
from surgery.edit.audit import audit
from surgery.edit.executor import execute
from surgery.edit.identity import work_identity
from surgery.edit.plan import Plan, make_plan
from surgery.model.anatomy import read_anatomy
from surgery.recipe.editing import Ablate

DIRECTION = "r"


@dataclass(frozen=True)
class Shape:
    """A Llama's sizes, with a quarter of the key and value heads; bytes of it in bfloat16."""

    vocabulary: int = 64_000
    d_model: int = 2_560
    d_mlp: int = 6_912
    n_layers: int = 24

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        d, m, kv = self.d_model, self.d_mlp, self.d_model // 4
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, d)}
        for layer in range(self.n_layers):
            parts = {
                "input_layernorm": (d,), "mlp.down_proj": (d, m),
                "mlp.gate_proj": (m, d), "mlp.up_proj": (m, d),
                "post_attention_layernorm": (d,), "self_attn.k_proj": (kv, d), "self_attn.o_proj": (d, d),
                "self_attn.q_proj": (d, d), "self_attn.v_proj": (kv, d),
            }  # fmt: skip
            shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in parts.items()}
        return shapes | {"model.norm.weight": (d,), "lm_head.weight": (self.vocabulary, d)}

    @property
    def config(self) -> dict[str, object]:
        return {
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": self.d_model,
            "intermediate_size": self.d_mlp, "num_hidden_layers": self.n_layers, "num_attention_heads": 20,
            "num_key_value_heads": 5, "vocab_size": self.vocabulary, "tie_word_embeddings": False,
            "dtype": "bfloat16", "rms_norm_eps": 1e-5,
        }  # fmt: skip


def make_source(folder: Path, shape: Shape, *, shard_bytes: int, sparse: bool = False) -> Checkpoint:
    """Write the checkpoint; sparse files hold zeros and take no room."""
    folder.mkdir(parents=True)
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    filled = 0
    for name, size in shape.tensors.items():
        n_bytes = 2 * int(np.prod(size))
        if filled and filled + n_bytes > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = size
        filled += n_bytes
    table: dict[str, str] = {}
    for number, tensors in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _write_shard(folder / file, tensors, sparse=sparse)
        table |= dict.fromkeys(tensors, file)
    index = {"metadata": {"total_size": 0}, "weight_map": table}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(shape.config))
    return open_checkpoint(folder)


def _write_shard(path: Path, tensors: dict[str, tuple[int, ...]], *, sparse: bool) -> None:
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, size in tensors.items():
        end = position + 2 * int(np.prod(size))
        table[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [position, end]}
        position = end
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    noise = (torch.randn(1 << 21, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    block = noise.view(torch.uint8).numpy().tobytes()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if sparse:
            file.truncate(file.tell() + position)
            return
        while position > 0:
            position -= file.write(block[: min(position, len(block))])


def plan_of(source: Checkpoint) -> Plan:
    """Remove one random direction from every writer."""
    anatomy = read_anatomy(source.config, source.shapes)
    direction = np.random.default_rng(0).standard_normal(anatomy.d_model)
    return make_plan(source, anatomy, [Ablate(ablate=DIRECTION)], {DIRECTION: direction})


def run_cp(source: Checkpoint, out: Path) -> None:
    subprocess.run(["cp", "-r", "--reflink=never", str(source.folder), str(out)], check=True)


def run_cp_with_fsync(source: Checkpoint, out: Path) -> None:
    run_cp(source, out)
    subprocess.run(["sync", *(str(path) for path in [*out.iterdir(), out])], check=True)


def run_cp_with_sums(source: Checkpoint, out: Path) -> None:
    run_cp_with_fsync(source, out)
    subprocess.run(["sha256sum", *map(str, out.iterdir())], check=True, stdout=subprocess.DEVNULL)


def run_execute(source: Checkpoint, out: Path) -> None:
    out.mkdir()
    execute(plan_of(source), source, out, hashes=False)


def run_execute_with_sums(source: Checkpoint, out: Path) -> None:
    plan = plan_of(source)
    identity = work_identity(plan, source)
    with resumable_folder(out, needed_bytes=plan.total_bytes, identity=identity) as staging:
        execute(plan, source, staging.folder, journal=staging.journal)


def run_transformers(source: Checkpoint, out: Path) -> None:
    from transformers import AutoModelForCausalLM

    plan = plan_of(source)
    network = AutoModelForCausalLM.from_pretrained(source.folder, dtype=torch.bfloat16)
    parameters = dict(network.named_parameters())
    direction = torch.from_numpy(plan.vectors[DIRECTION]).float()
    with torch.no_grad():
        for edit in plan.edits:
            weight = parameters[edit.tensor]
            wide = weight.float()
            if edit.residual_axis == 0:
                wide -= torch.outer(direction, direction @ wide)
            else:
                wide -= torch.outer(wide @ direction, direction)
            weight.copy_(wide)
    network.save_pretrained(out, max_shard_size="1GB")


def run_mergekit(source: Checkpoint, out: Path) -> None:
    layers = source.config["num_hidden_layers"]
    recipe = out.with_suffix(".yaml")
    slices = [{"sources": [{"model": str(source.folder), "layer_range": [0, layers]}]}]
    recipe.write_text(json.dumps({"merge_method": "passthrough", "dtype": "bfloat16", "slices": slices}))
    subprocess.run(
        ["mergekit-yaml", str(recipe), str(out), "--no-copy-tokenizer", "--out-shard-size", "500M"],
        check=True,
        capture_output=True,
    )
    recipe.unlink()


Method = Callable[[Checkpoint, Path], None]
Times = dict[str, list[tuple[float, float]]]
"""Method → (wall seconds, CPU seconds) of each round."""


def run_audit(source: Checkpoint, out: Path) -> None:
    found = audit(plan_of(source), source, open_checkpoint(out))
    assert not found.problems, found.problems


def measure(source: Checkpoint, methods: dict[str, Method], rounds: int, scratch: Path) -> Times:
    """Every method in each round, the first round left out; `audit` reads what `execute` wrote."""
    times: Times = {name: [] for name in [*methods, "audit"]}
    for number in range(rounds + 1):
        for name, method in methods.items():
            out = scratch / "out"
            _touch_memory(scratch / "memory", source)
            taken = {name: _timed(method, source, out)}
            if name == "execute":
                taken["audit"] = _timed(run_audit, source, out)
            if number:
                for each, pair in taken.items():
                    times[each].append(pair)
            shutil.rmtree(out)
    return times


def _touch_memory(file: Path, source: Checkpoint) -> None:
    """Leave as much free memory behind as a method fills: a virtual machine may have given it back, and
    fetching it takes several times as long as a copy."""
    block = bytes(1 << 24)
    with file.open("wb") as written:
        for _ in range(sum(header.file_bytes for header in source.headers.values()) // len(block)):
            written.write(block)
    file.unlink()


def _timed(method: Method, source: Checkpoint, out: Path) -> tuple[float, float]:
    before = os.times()
    method(source, out)
    after = os.times()
    return after.elapsed - before.elapsed, sum(after[:4]) - sum(before[:4])


def peak_memory(gigabytes: float, scratch: Path) -> float:
    """Peak resident megabytes of a process that edits sparse files of a size, torch and Python included."""
    shape = Shape(
        vocabulary=32_000, d_model=4_096, d_mlp=14_336, n_layers=max(1, round((gigabytes - 0.5) / 0.40))
    )
    source = make_source(scratch / "sparse", shape, shard_bytes=5 << 30, sparse=True)
    command = [sys.executable, __file__, "--child", str(source.folder), str(scratch / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    for name in ("sparse", "out"):
        shutil.rmtree(scratch / name)
    return float(done.stdout)


def _child(source: Path, out: Path) -> None:
    run_execute_with_sums(open_checkpoint(source), out)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _table(times: Times) -> None:
    heads = (("median s", 9), ("min", 6), ("max", 6), ("of cp", 6), ("range", 12), ("CPU s", 7), ("of cp", 6))
    print(f"{'':17s} " + " ".join(f"{head:>{width}s}" for head, width in heads))
    copies = times["cp"]
    for name, taken in times.items():
        if not taken:
            continue
        walls, processors = zip(*taken, strict=True)
        ratios = [mine[0] / copy[0] for mine, copy in zip(taken, copies, strict=True)]
        processor_ratios = [mine[1] / copy[1] for mine, copy in zip(taken, copies, strict=True)]
        print(
            f"{name:17s} {statistics.median(walls):9.2f} {min(walls):6.2f} {max(walls):6.2f}"
            f" {statistics.median(ratios):6.2f} {f'{min(ratios):.2f}–{max(ratios):.2f}':>12s}"
            f" {statistics.median(processors):7.2f} {statistics.median(processor_ratios):6.2f}"
        )


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{platform.system()} {platform.machine()}, {available_cores()} of {os.cpu_count()} cores usable,"
        f" {memory:.0f} GB memory, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"
    )


def main() -> None:
    """Run what the arguments name and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=24, help="24 is 4.0 GB, 8 is 1.8 GB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where to work; default: the temporary folder")
    parser.add_argument("--no-peers", action="store_true", help="leave transformers and mergekit out")
    parser.add_argument(
        "--memory", type=float, nargs="*", help="measure peak memory at these sizes in GB instead"
    )
    parser.add_argument("--child", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child)
        return
    print(_machine())
    with tempfile.TemporaryDirectory(prefix="surgery-bench-", dir=arguments.scratch) as place:
        scratch = Path(place)
        if arguments.memory is not None:
            for size in arguments.memory or [1, 4, 16]:
                print(f"{size:g} GB: peak {peak_memory(size, scratch):.0f} MB resident")
            return
        source = make_source(scratch / "source", Shape(n_layers=arguments.layers), shard_bytes=1 << 30)
        plan = plan_of(source)
        print(
            f"{plan.total_bytes / 1e9:.2f} GB in {len(source.headers)} shards, {len(plan.edits)} tensors"
            f" edited, {plan.edited_bytes / plan.total_bytes:.0%} of the bytes; {arguments.rounds} rounds"
        )
        methods: dict[str, Method] = {
            "cp": run_cp, "cp + fsync": run_cp_with_fsync, "cp + fsync + sums": run_cp_with_sums,
            "execute": run_execute, "execute + sums": run_execute_with_sums,
        }  # fmt: skip
        if not arguments.no_peers:
            import transformers  # noqa: F401  (its import is not what is measured)

            methods["transformers"] = run_transformers
            if shutil.which("mergekit-yaml"):
                methods["mergekit"] = run_mergekit
        _table(measure(source, methods, arguments.rounds, scratch))


if __name__ == "__main__":
    main()
