"""Further part of MoE-Pruner's check: a router that nothing balances, up to 70 % of every row, and the clock.

    python -m papers.moe_pruner_routers

The same small Mixtrals as in `moe_pruner.py`, and as many trained without the router's balance loss, so that some
experts are asked far more than others. Perplexity at 50, 60 and 70 % and at 2:4, by MoE-Pruner, Wanda and at random;
beside it milliseconds of a sequence of 128 tokens through the compiled network, one thread, and its own perplexity.
What is found goes into `moe_pruner.json`.
"""

import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MixtralForCausalLM
from transformers.utils import logging

from papers.deployments import Store, Trial, store, with_times
from papers.moe_pruner import FOLDER, SCHEMES, Amount, Dense, by_seed, listed
from papers.record import HERE, Finding, add, take_no_arguments, verdict
from papers.small_mixtral import BALANCE, LENGTH, Training, dense_checkpoint, load
from papers.trials import ahead, remembered
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.streaming import ExpertPruning

BEGINS = "by router and sparsity: "
ROUTERS = {"balanced": BALANCE, "unbalanced": 0.0}
CRITERIA = ("moe_pruner", "wanda", "random")
AMOUNT = Amount()
ROUNDS = 15


def trained(router: str, seed: int) -> Dense:
    """A dense network; the balanced ones are those of `moe_pruner.py`."""
    training = Training(AMOUNT.steps, seed=seed, balance=ROUTERS[router])
    name = f"dense-{AMOUNT.steps}-{seed}{'' if router == 'balanced' else '-unbalanced'}"
    return Dense(dense_checkpoint(FOLDER / name, training), AMOUNT, seed)


def records() -> Iterator[dict[str, Any]]:
    """One for each router, seed, scheme, criterion and draw of calibration sequences."""
    for seed in AMOUNT.seeds:
        for router in ROUTERS:
            dense = trained(router, seed)
            found = [dense.unpruned(), *(dense.pruned(*one) for one in dense.choices(SCHEMES, CRITERIA))]
            yield from ({"router": router, **one} for one in found)
            asked = remembered(f"moe_pruner/{dense.folder.name}-asked", partial(imbalance, dense))
            yield {"router": router, "seed": seed, **asked}


@torch.inference_mode()
def imbalance(dense: Dense) -> dict[str, float]:
    """How unevenly experts are asked on test text, mean over layers."""
    network = load(dense.folder)[0]
    output = network(dense.tokens("wikitext2_test")[:16], output_router_logits=True)
    layers = [uneven(logits.float()) for logits in output.router_logits]
    return {key: fmean(layer[key] for layer in layers) for key in layers[0]}


def uneven(logits: Tensor) -> dict[str, float]:
    """Deviation over mean of how many tokens an expert is asked for, and the mean of the larger of two gates.

    `logits` are a router's, `[tokens, experts]`.
    """
    values, chosen = logits.topk(2)
    counts = torch.bincount(chosen.flatten(), minlength=logits.shape[1]).double()
    return {
        "imbalance": float(counts.std(correction=0) / counts.mean()),
        "larger_gate": float(values.softmax(1)[:, 0].mean()),
    }


class Scores(nn.Module):
    """Logits `[1, LENGTH, vocabulary]` of a sequence of tokens."""

    def __init__(self, network: MixtralForCausalLM) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor) -> Tensor:
        """All of them at once, nothing kept for more tokens."""
        logits: Tensor = self.network(ids, use_cache=False).logits
        return logits


def compiled(kept: Store, dense: Dense, router: str, scheme: str) -> Trial:
    """The network as MoE-Pruner prunes it, or dense, compiled; its perplexity is that of the deployment."""

    def make() -> tuple[dict[str, Any], NativeDeployment]:
        with tempfile.TemporaryDirectory() as output:
            settings = ExpertPruning(SCHEMES[scheme]) if scheme in SCHEMES else None
            network = dense.prune(output, settings)[0] if settings else load(dense.folder)[0]
        tokens = dense.tokens("wikitext2_test")[: AMOUNT.test]
        deployment = compile_network(Scores(network).eval(), (tokens[:1],))
        losses = [F.cross_entropy(deployment(ids[None])[0, :-1], ids[1:]) for ids in tokens]
        found = math.exp(float(torch.stack(losses).mean()))
        return {"scheme": scheme, "seed": dense.seed, "perplexity": found}, deployment

    return kept.trial(f"moe_pruner-{router}-{scheme}".replace(" ", ""), (dense.folder.name, scheme), make)


def found(entries: Sequence[dict[str, Any]], clocked: Sequence[dict[str, Any]]) -> list[Finding]:
    """MoE-Pruner beside Wanda and a random mask, scheme by scheme, with either router; and the clock."""
    results = []
    for router in ROUTERS:
        own = [entry for entry in entries if entry["router"] == router]
        asked = told([entry for entry in own if "imbalance" in entry])
        perplexities = [entry for entry in own if "perplexity" in entry]
        dense = by_seed(perplexities, "dense", "dense")
        for scheme in SCHEMES:
            values = {criterion: by_seed(perplexities, scheme, criterion) for criterion in CRITERIA}
            results.append(
                Finding(
                    f"{BEGINS}{router}, {scheme}: MoE-Pruner loses less than Wanda",
                    "",
                    f"{listed(values)}; {listed({'dense': dense})}",
                    verdict(ahead(values["wanda"], values["moe_pruner"])),
                    asked,
                )
            )
    times = {one["scheme"]: one["milliseconds"] for one in clocked}
    return [*results, clock_finding(clocked, times)]


def told(asked: Sequence[dict[str, Any]]) -> str:
    """How uneven the router is, over seeds."""
    uneven = ", ".join(f"{entry['imbalance']:.2f}" for entry in asked)
    gates = ", ".join(f"{entry['larger_gate']:.2f}" for entry in asked)
    return f"tokens of experts, deviation over mean: {uneven}; the larger of a token's two gates: {gates}"


def clock_finding(clocked: Sequence[dict[str, Any]], times: Mapping[str, float]) -> Finding:
    """Whether pruned experts are faster in the compiled network."""
    each = "; ".join(
        f"{one['scheme']} {one['milliseconds']:.2f} ms, perplexity {one['perplexity']:.2f}" for one in clocked
    )
    return Finding(
        f"{BEGINS}compiled, a sequence of {LENGTH} tokens takes less time with pruned experts",
        "no time is published",
        each,
        verdict(all(times[scheme] < times["dense"] for scheme in SCHEMES)),
        "one thread, float32, first seed, balanced router; attention, routers and the output layer stay dense",
    )


def main() -> int:
    """Put the findings into the check's result, in the place of those that were there."""
    take_no_arguments(__doc__)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    entries = list(records())
    dense = trained("balanced", AMOUNT.seeds[0])
    with store(False) as kept:
        trials = [compiled(kept, dense, "balanced", scheme) for scheme in ("dense", *SCHEMES)]
        clocked = with_times(trials, (dense.tokens("wikitext2_test")[:1],), ROUNDS)
    add(
        HERE / "results" / "moe_pruner.json",
        BEGINS,
        found(entries, clocked),
        "routers",
        {"records": entries, "clocked": clocked},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
