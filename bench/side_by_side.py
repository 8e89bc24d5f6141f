"""A pruned network, compiled, beside the dense network on every peer that is installed, in one interleaved run.

    python bench/side_by_side.py digits --compression 8
    python bench/side_by_side.py my_package.networks:make_network --shape 3x224x224 --output result.json

Prints one JSON document with the machine, the versions and every contender's quartiles. Weights are pruned in one shot
and not trained: this script says what a plan is worth in time, nothing about accuracy.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from spokeshave.cli.example import find_example
from spokeshave.compiler import compile_network
from spokeshave.errors import SpokeshaveError
from spokeshave.measure import PEERS, relative_error, side_by_side
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan
from spokeshave.references import resolve_network


def measure(arguments: argparse.Namespace) -> dict:
    """Prune, compile, check and time."""
    torch.manual_seed(0)
    dense, pruned = resolve_network(arguments.network), resolve_network(arguments.network)
    example = find_example(arguments.network, dense, arguments.shape, None)
    plan = (
        Plan.load(arguments.plan) if arguments.plan else Plan.for_compression(pruned, arguments.compression)
    )
    begin(OneShot(), pruned, plan).finish()
    deployment = compile_network(pruned, example, plan)
    with torch.inference_mode():
        error = relative_error(deployment(*example), pruned.eval()(*example))
    comparison = side_by_side(
        deployment, dense, example, arguments.threads, arguments.rounds, arguments.peer, _tell
    )
    return {
        "network": arguments.network,
        "plan": plan.to_yaml(),
        "max_relative_error": error,
        "through_pytorch": [stage.target for stage in deployment.fallen_out],
        **comparison.as_dict(),
    }


def _tell(done: int, total: int, what: str) -> None:
    print(f"{done} of {total}: {what}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", help="a built-in name, module:callable or path/to/file.py:callable")
    parser.add_argument(
        "--shape", help="shape of one sample, such as 3x224x224; built-in networks know theirs"
    )
    parser.add_argument(
        "--compression", type=float, default=8, help="times fewer weights in the pruned layers (8)"
    )
    parser.add_argument("--plan", type=Path, help="a plan in YAML instead")
    parser.add_argument(
        "--peer", action="append", choices=PEERS, help="a peer; all that are installed otherwise"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the peers (1)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the interleaved run (15)")
    parser.add_argument("--output", type=Path, help="file for the JSON document; stdout otherwise")
    arguments = parser.parse_args()
    try:
        text = json.dumps(measure(arguments), indent=1)
    except SpokeshaveError as error:
        sys.exit(f"error: {error}")
    arguments.output.write_text(text) if arguments.output else print(text)


if __name__ == "__main__":
    main()
