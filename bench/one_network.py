"""What scripts about one pruned network share: the command line, the network, and its JSON document."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.cli.example import find_example
from spokeshave.errors import SpokeshaveError
from spokeshave.measure import describe_machine
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan
from spokeshave.references import resolve_network

Document = dict[str, Any]


@dataclass(frozen=True)
class Pruned:
    """A network whose weights lie in its plan, and one sample of its inputs."""

    network: nn.Module
    example: tuple[Tensor, ...]
    plan: Plan | None


def parser(about: str) -> argparse.ArgumentParser:
    """The options that say which network, and where its document goes."""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("network", help="a built-in name, module:callable or path/to/file.py:callable")
    options.add_argument(
        "--shape", help="shape of one sample, such as 3x224x224; built-in networks know theirs"
    )
    options.add_argument(
        "--compression", type=float, default=8, help="times fewer weights; 1 leaves it dense (8)"
    )
    options.add_argument("--output", type=Path, help="file for the JSON document; stdout otherwise")
    return options


def run(arguments: argparse.Namespace, measure: Callable[[Pruned], Document]) -> None:
    """Measure the network that the command line names, and write what was found beside the machine."""
    try:
        found = measure(_pruned(arguments))
    except SpokeshaveError as error:
        sys.exit(f"error: {error}")
    settings = {"network": arguments.network, "compression": arguments.compression}
    text = json.dumps({**settings, **found, "machine": asdict(describe_machine())}, indent=1)
    arguments.output.write_text(text + "\n") if arguments.output else print(text)


def _pruned(arguments: argparse.Namespace) -> Pruned:
    torch.manual_seed(0)
    network = resolve_network(arguments.network)
    if not isinstance(network, nn.Module):
        raise SpokeshaveError(
            f"{arguments.network} is an exported program, whose weights cannot be pruned here"
        )
    example = find_example(arguments.network, network, arguments.shape, None)
    plan = Plan.for_compression(network, arguments.compression) if arguments.compression > 1 else None
    if plan is not None:
        begin(OneShot(), network, plan).finish()
    return Pruned(network.eval(), example, plan)
