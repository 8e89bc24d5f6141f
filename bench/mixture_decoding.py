"""Time of decoding one token by a small Mixtral whose experts are pruned; interleaved, one thread.

    python -m bench.mixture_decoding --folder FOLDER [--precision P] [--rounds N] [--output FILE]

Random weights, so speed only. Contenders are kept in FOLDER: a second run does nothing but time them. Every call
decodes another token behind the same past, so that experts change from call to call as they do when text is written.
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.records import provenance
from spokeshave.compiler import NativeDeployment, compile_network, load_deployment
from spokeshave.measure import interleave, limited_threads, relative_error
from spokeshave.measure.peers.onnx_file import onnx_file
from spokeshave.measure.peers.peer import Task
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured

SIZES: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1792,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
    "vocab_size": 2048,
}
# Largest difference, of the largest logit; at lower precision a token may ask other experts.
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.5}
PAST, TOKENS = 64, 32  # keys behind the token; different tokens
SCHEMES: dict[str, Scheme | None] = {
    "dense": None,
    "unstructured, 50 %": Unstructured(0.5),
    "2:4": NOfM(2, 4),
    "4:8": NOfM(4, 8),
    "unstructured, 8x": Unstructured(0.875),
    "blocks, 4x": BlockColumnRow(0.75, (32, 64)),
    "blocks, 8x": BlockColumnRow(0.875, (32, 64)),
}


class Decoder(nn.Module):
    """Logits of one token behind keys and values of the past, one pair a layer."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import MixtralConfig, MixtralForCausalLM

        config = MixtralConfig(**SIZES, bos_token_id=None, eos_token_id=None)
        self.network = MixtralForCausalLM(config)

    def forward(self, ids: Tensor, *past: Tensor) -> Tensor:
        from transformers import DynamicCache

        cache = DynamicCache(list(zip(past[::2], past[1::2], strict=True)))
        logits: Tensor = self.network(ids, past_key_values=cache, use_cache=True).logits
        return logits


def build(scheme: Scheme | None) -> tuple[Decoder, Plan]:
    """The same network each time, its experts pruned."""
    torch.manual_seed(0)
    network = Decoder().eval()
    plan = Plan((Rule("*.experts", scheme),))
    with torch.no_grad():
        for name, each in plan.resolve(network).items():
            weight = network.get_parameter(name)
            weight.copy_(each.project(weight))
    return network, plan


def steps() -> Iterator[tuple[Tensor, ...]]:
    """Inputs of one call after the other, without an end."""
    torch.manual_seed(1)
    size = SIZES["hidden_size"] // SIZES["num_attention_heads"]
    pairs = 2 * SIZES["num_hidden_layers"]
    past = [torch.randn(1, SIZES["num_key_value_heads"], PAST, size) for _ in range(pairs)]
    return itertools.cycle([(torch.tensor([[token]]), *past) for token in range(TOKENS)])


def deployed(name: str, scheme: Scheme | None, arguments: argparse.Namespace) -> NativeDeployment:
    """Our code for a scheme, compiled and checked where it is not in the folder yet."""
    precision = arguments.precision
    folder = arguments.folder / f"{name} {precision}".replace(":", " of ")
    if not folder.exists():
        network, plan = build(scheme)
        samples = [(inputs,) for inputs in itertools.islice(steps(), TOKENS)] if precision == "int8" else None
        deployment = compile_network(network, next(steps()), plan, precision=precision, calibration=samples)
        for inputs in itertools.islice(steps(), TOKENS):
            with torch.no_grad():
                error = relative_error(deployment(*inputs), network(*inputs))
            assert error < TOLERANCES[precision], f"{name}: {error}"
        deployment.save(folder)
    return load_deployment(folder)


def experts_seconds(deployment: NativeDeployment) -> float:
    """Of one token, what the experts' products take: the median over all tokens."""
    profiles = [deployment.profile(*inputs, repeats=1) for inputs in itertools.islice(steps(), TOKENS)]
    return statistics.median(
        sum(row.seconds for row in rows if row.operation == "SelectedLinear") for rows in profiles
    )


def in_turn(run: Callable[..., Any]) -> Callable[[], Any]:
    """A contender that takes the next inputs with each call."""
    inputs = steps()
    return lambda: run(*next(inputs))


def peers(folder: Path) -> dict[str, Callable[..., Any]]:
    """The dense network in PyTorch, with each way in which it can compute experts, and in ONNX Runtime."""
    import onnxruntime

    found = {}
    for way in ("eager", "batched_mm"):
        network, _ = build(None)
        network.network.set_experts_implementation(way)
        found[f"PyTorch, {way}"] = torch.inference_mode()(network.forward)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_file(Task(network, next(steps()), 1, folder)), options)
    names = [put.name for put in session.get_inputs()]
    found["ONNX Runtime"] = lambda *inputs: session.run(
        None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    )
    return found


def main() -> None:
    """Run `python -m bench.mixture_decoding`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="where contenders are kept")
    parser.add_argument("--precision", choices=TOLERANCES, default="float32", help="of our code")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, help="file for the JSON document")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    own = {name: deployed(name, scheme, arguments) for name, scheme in SCHEMES.items()}
    with limited_threads(1):
        every: dict[str, Callable[..., Any]] = {**own, **peers(arguments.folder)}
        document: dict[str, Any] = provenance(1) | {"precision": arguments.precision}
        run = interleave({name: in_turn(call) for name, call in every.items()}, arguments.rounds)
        experts = {name: experts_seconds(deployment) for name, deployment in own.items()}
    document["rows"] = [
        {
            "contender": name,
            "milliseconds": round(run.timing(name).median_seconds * 1e3, 3),
            "spread": round(run.timing(name).spread, 3),
            "experts_milliseconds": round(experts[name] * 1e3, 3) if name in own else None,
            "gain": round(run.ratio("dense", name).median, 2),
            "megabytes": round(own[name].manifest.weight_bytes / 1e6, 1) if name in own else None,
        }
        for name in every
    ]
    for row in document["rows"]:
        print("  ".join(f"{value!s:>20}" for value in row.values()))
    if arguments.output:
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
