"""Further part of SPViT's check: what the keyword transformer takes when it is compiled, with selectors and without.

    python -m papers.spvit_latency

The first seed's transformer with a selector and packages, trained as in the check, and the dense one are compiled in
float32; single clips are timed in one interleaved run on one thread. What is found goes into `spvit.json`.
"""

import sys
from typing import Any

import torch
from torch import nn

from papers.deployments import Store
from papers.keyword_transformer import heard_words
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from papers.spvit import KEYWORDS, SEEDS
from papers.token_times import input_times
from papers.token_trials import PACKAGE, Subject
from papers.trials import RUNS, remembered
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.data import Batches

BEGINS = "compiled: "
DENSE = "dense"
CLIPS, ROUNDS = 30, 25


def timed() -> dict[str, float]:
    """Milliseconds of a clip, dense and with a selector, and the selector's share."""
    torch.set_num_threads(1)
    heard = heard_words(SEEDS[0])
    test = heard.clips.held_out
    assert isinstance(test, Batches)
    subject = Subject(Store(RUNS), "spvit/keywords", heard.network, heard.clips, KEYWORDS, SEEDS[0])

    def compiled(network: nn.Module) -> NativeDeployment:
        return compile_network(network.eval(), test.inputs[:1])

    dense, reduced = compiled(heard.network), compiled(subject.fitted(PACKAGE, KEYWORDS.learned()))
    return input_times({DENSE: dense}, reduced, test.inputs[:CLIPS], ROUNDS)


def findings(times: dict[str, Any]) -> list[Finding]:
    """The speed-up and what selectors cost of the time."""
    faster = times[DENSE] / times["mean"]
    return [
        Finding(
            f"{BEGINS}a clip takes at most two thirds of the dense network's time",
            "",
            f"{faster:.2f} times as fast: {times['mean']:.3f} of {times[DENSE]:.3f} ms, {times['tail']:.3f} at 95 %",
            verdict(faster >= 1.5),
            "keywords, float32, batch of one, one thread, a selector in front of block 2 of 12, packages; processor "
            "time of interleaved runs, beside other programs",
        ),
        Finding(
            f"{BEGINS}selectors cost at most 2 % of the time",
            "",
            f"{times['selectors']:.1%}",
            verdict(times["selectors"] <= 0.02),
            "selection and packages included",
        ),
    ]


def main() -> int:
    """Time, and put what is found into the record."""
    take_no_arguments(__doc__)
    times = remembered("spvit/latency", timed)
    add(HERE / "results" / "spvit.json", BEGINS, findings(times), "latency", times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
