"""Time of a training step by how many links attention keeps -> bench/results/attention_links.json.

    python -m bench.attention_links [--rounds N] [--output FILE]

A vision transformer of DeiT-tiny's tokens and width (197 tokens, width 192, 12 blocks; random weights) is trained as it
is, and with links pruned behind its attentions 3, 6 and 9 (Tri-Level E-ViT, arXiv 2211.10801): by key, where the keys
and values of a part of the patches are not read at all, and by row, the paper's mask. A step is the forward and the
backward pass of a batch of two, choosing included; all in one interleaved run, one thread, processor time.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.records import RESULTS, join, provenance
from spokeshave.measure import interleave, limited_threads
from spokeshave.networks import VisionTransformer
from spokeshave.samples import LinkPruning, prune_links

CASES = (
    LinkPruning(0.5),
    LinkPruning(0.25),
    LinkPruning(0.1),
    LinkPruning(0.5, per="row"),
    LinkPruning(0.1, per="row"),
)


def step(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Gradients of one batch."""
    network.zero_grad()
    F.cross_entropy(network(images), labels).backward()


def calls() -> dict[str, Callable[[], Any]]:
    """One training step of each, by name."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 224, 224, generator=generator)
    labels = torch.randint(0, 10, (2,), generator=generator)
    found: dict[str, Callable[[], Any]] = {}
    for pruning in (None, *CASES):
        torch.manual_seed(0)
        network = VisionTransformer(3, 224, 16, width=192, heads=3, blocks=12)
        if pruning is not None:
            prune_links(network, pruning)
        found[name_of(pruning)] = partial(step, network, images, labels)
    return found


def name_of(pruning: LinkPruning | None) -> str:
    """
    >>> name_of(None), name_of(LinkPruning(0.5))
    ('all links', '50 % by key')
    """
    return "all links" if pruning is None else f"{100 * pruning.keep:.0f} % by {pruning.per}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS / "attention_links.json")
    arguments = parser.parse_args()
    with limited_threads(1):
        record = provenance(1)
        run = interleave(calls(), rounds=arguments.rounds, clock="processor")
    rows = [
        {
            "links": one.name,
            "milliseconds": 1e3 * one.median_seconds,
            "of_all_links": run.ratio(one.name, name_of(None)).median,
        }
        for one in run.timings
    ]
    join(arguments.output, {"network": "deit_tiny", "rows": rows, "provenance": record}, ["network"])
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
