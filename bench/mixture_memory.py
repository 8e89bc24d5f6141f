"""Memory and time of pruning Mixtral-8x7B's layers at their true width, from disk to disk.

    python -m bench.mixture_memory [--layers 2] [--scheme 0.5] [--threads 1] [--output FILE]

A checkpoint of random bfloat16 weights (2 layers: 5.8 GB, and as much again for the pruned one) is written into a
temporary folder below --folder, pruned by MoE-Pruner on random tokens, read back, and removed. Pruning runs in a
process of its own, which dies by SIGKILL in the last layer; a second one goes on behind the whole layers. The peak is
what the kernel counts as resident for these processes, PyTorch included, from the moment pruning begins; it is held
against 1.5 decoder layers in bfloat16 and the activations of one block of tokens. What is resident is also drawn over
time (results/mixture_memory.svg). Time depends on the disk and on the tokens.
"""

import argparse
import math
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.plots import write_memory_plot
from bench.records import RESULTS, join, provenance, read, write
from bench.watched import Watched, thinned, watched
from spokeshave.errors import SpokeshaveError
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.streaming import ExpertPruning, prune_experts
from spokeshave.streaming.expert import TOKENS
from spokeshave.streaming.memory import forget_peak, peak_resident_bytes
from spokeshave.streaming.run import REPORT, shard_name
from spokeshave.streaming.tensor_file import Entry, open_tensor_file, written_tensors

WIDTH: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_local_experts": 8,
    "num_attention_heads": 32,
}
OTHERS: dict[str, Any] = {"num_key_value_heads": 8, "vocab_size": 32000}  # as published (arXiv 2401.04088)
ROWS = 1024
SCHEMES: dict[str, Unstructured | NOfM] = {"0.5": Unstructured(0.5), "2:4": NOfM(2, 4), "4:8": NOfM(4, 8)}
BYTES = 2  # of a bfloat16 number
KILLED_AT = 2  # experts into the last layer


def layer_shapes(config: Any, layer: int) -> dict[str, tuple[int, ...]]:
    """The tensors of one decoder layer, in the form of published checkpoints."""
    hidden, middle, experts = config.hidden_size, config.intermediate_size, config.num_local_experts
    keys = hidden // config.num_attention_heads * config.num_key_value_heads
    matrices = {"w1": (middle, hidden), "w3": (middle, hidden), "w2": (hidden, middle)}
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (hidden, hidden),
        "self_attn.k_proj.weight": (keys, hidden),
        "self_attn.v_proj.weight": (keys, hidden),
        "self_attn.o_proj.weight": (hidden, hidden),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
        "block_sparse_moe.gate.weight": (experts, hidden),
    }
    for expert in range(experts):
        for name, shape in matrices.items():
            shapes[f"block_sparse_moe.experts.{expert}.{name}.weight"] = shape
    return {f"model.layers.{layer}.{name}": shape for name, shape in shapes.items()}


def other_shapes(config: Any) -> dict[str, tuple[int, ...]]:
    """The tensors outside the layers."""
    table = (config.vocab_size, config.hidden_size)
    return {"model.embed_tokens.weight": table, "lm_head.weight": table, "model.norm.weight": table[1:]}


def write_random(path: Path, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
    """A file of random tensors (norms are 1), some rows in memory at a time."""
    generator = torch.Generator().manual_seed(seed)
    entries = {name: Entry("BF16", shape, 0, BYTES * math.prod(shape)) for name, shape in shapes.items()}
    with written_tensors(path, entries) as writer:
        for name, shape in shapes.items():
            count = math.prod(shape[:-1])
            for first in range(0, count, ROWS):
                rows = torch.empty(min(ROWS, count - first), shape[-1])
                rows = rows.fill_(1) if len(shape) == 1 else rows.normal_(0, 0.02, generator=generator)
                writer.put_rows(name, first, rows)


def write_checkpoint(folder: Path, config: Any) -> None:
    """A checkpoint of as many files as layers, and one; its names are found by an index."""
    config.save_pretrained(folder)
    parts = [layer_shapes(config, layer) for layer in range(config.num_hidden_layers)]
    places: dict[str, str] = {}
    for number, shapes in enumerate([*parts, other_shapes(config)]):
        name = f"model-{number}.safetensors"
        write_random(folder / name, shapes, seed=number)
        places |= dict.fromkeys(shapes, name)
    write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})


def check_pruned(folder: Path, scheme: Unstructured | NOfM) -> None:
    """Raise AssertionError unless a matrix of the last layer keeps exactly what the scheme says."""
    path = sorted(folder.glob("model-*.safetensors"))[-2]
    name = next(name for name in open_tensor_file(path).entries if name.endswith("experts.7.w2.weight"))
    rows = open_tensor_file(path).rows(name, count=64)
    length = scheme.length if isinstance(scheme, NOfM) else rows.shape[1]
    assert bool((rows.view(-1, length).count_nonzero(dim=1) == length // 2).all())


def prune(work: Path, scheme: Unstructured | NOfM, tokens: Tensor, kill_at: int, threads: int) -> None:
    """Prune in this process; before expert `kill_at`, counted over all layers, it dies by SIGKILL."""
    torch.set_num_threads(threads)
    forget_peak()

    def progress(done: int, total: int, note: str) -> None:
        print(f"{note}, expert {done} of {total}", flush=True)
        if done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    write(work / "resident.json", {"before": peak_resident_bytes()})
    prune_experts(work / "dense", work / "pruned", ExpertPruning(scheme), tokens, progress)


def killed_and_resumed(work: Path, config: Any, arguments: argparse.Namespace) -> tuple[Watched, ...]:
    """Prune the checkpoint in two processes, the first of which dies; whole layers must stay as they were."""
    tokens = torch.randint(config.vocab_size, (arguments.sequences, arguments.length))
    kill_at = (config.num_hidden_layers - 1) * config.num_local_experts + KILLED_AT
    whole = [
        work / "pruned" / shard_name(layer, config.num_hidden_layers)
        for layer in range(config.num_hidden_layers - 1)
    ]
    runs, written = [], []
    for end, code in ((kill_at, -signal.SIGKILL), (-1, 0)):
        runs.append(watched(prune, (work, SCHEMES[arguments.scheme], tokens, end, arguments.threads)))
        if runs[-1].exit_code != code:
            raise SpokeshaveError(f"pruning ended with code {runs[-1].exit_code}, not {code}")
        written.append([path.stat().st_mtime_ns for path in whole])
    if written[0] != written[1]:
        raise SpokeshaveError("the run that went on wrote whole layers again")
    return tuple(runs)


def measure(work: Path, config: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write, prune, check; returns the figures."""
    write_checkpoint(work / "dense", config)
    killed, resumed = killed_and_resumed(work, config, arguments)
    check_pruned(work / "pruned", SCHEMES[arguments.scheme])
    report = read(work / "pruned" / REPORT)
    layer = BYTES * sum(math.prod(shape) for shape in layer_shapes(config, 0).values())
    tokens = arguments.sequences * arguments.length
    block = min(TOKENS, tokens)
    activations = 4 * (2 * block * config.hidden_size + 3 * block * config.intermediate_size)
    return {
        "scheme": arguments.scheme,
        "layers": config.num_hidden_layers,
        "tokens": tokens,
        "layer_bytes": layer,
        "activation_bytes": activations,
        "limit_bytes": layer * 3 // 2 + activations,
        "resident_before_bytes": read(work / "resident.json")["before"],
        "peak_resident_bytes": max(report["peak_resident_bytes"], killed.most, resumed.most),
        "killed_after_seconds": round(killed.seconds[-1], 1),
        "whole_layers_kept": config.num_hidden_layers - 1,
        "trace": thinned(killed.followed_by(resumed)).points(),
        "seconds_per_layer": [round(entry["seconds"], 1) for entry in report["layers"]],
        "processor_seconds_per_layer": [round(entry["processor_seconds"], 1) for entry in report["layers"]],
        "below_token_floor": report["below_token_floor"],
        "experts": [entry["experts"] for entry in report["layers"]],
    }


def main() -> int:
    """Run `python -m bench.mixture_memory`."""
    from transformers import MixtralConfig

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--scheme", choices=SCHEMES, default="0.5")
    parser.add_argument("--sequences", type=int, default=2)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where there is room; the system's temporary folder")
    parser.add_argument("--output", type=Path, default=RESULTS / "mixture_memory.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="mixture-") as work:
        needed = 6_000_000_000 * (arguments.layers + 1)
        if shutil.disk_usage(work).free < needed:
            raise SpokeshaveError(f"{work} has less than {needed / 1e9:.0f} GB free")
        config = MixtralConfig(**WIDTH, **OTHERS, num_hidden_layers=arguments.layers)
        figures = provenance(arguments.threads) | measure(Path(work), config, arguments)
    document = join(arguments.output, figures, ("scheme", "layers", "threads"))
    write_memory_plot(document, arguments.output.with_suffix(".svg"))
    peak, limit = figures["peak_resident_bytes"], figures["limit_bytes"]
    print(f"peak {peak / 1e9:.2f} GB; limit {limit / 1e9:.2f} GB; seconds {figures['seconds_per_layer']}")
    return 0 if peak <= limit else 1


if __name__ == "__main__":
    raise SystemExit(main())
