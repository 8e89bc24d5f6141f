"""MoE-Pruner (arXiv 2410.12013): experts of a mixture pruned by weights, inputs and router gates; experts distilled.

A small Mixtral is trained on the Brown corpus (3 minutes of a quiet core for each seed), calibrated on WikiText-2
valid, and its perplexity measured on WikiText-2 test: dense, and at half of every row and at 2:4 by MoE-Pruner, Wanda,
magnitude and at random, over draws of calibration sequences; then the network at half is trained on with its zeros
kept, with and without its dense experts as teachers. Networks and records stay in runs/papers, so a run can go on.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MixtralForCausalLM
from transformers.utils import logging

from papers.record import Check, Finding, main, verdict
from papers.small_mixtral import Training, batches, dense_checkpoint, load, perplexity, sequences, text
from papers.trials import RUNS, ahead, remembered
from spokeshave.methods import ExpertDistillation, MaskedFineTuning, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.streaming import ExpertPruning, prune_experts
from spokeshave.streaming.settings import CRITERIA

HALF = Unstructured(0.5)
SCHEMES: dict[str, Unstructured | NOfM] = {
    "50 %": HALF,
    "60 %": Unstructured(0.6),
    "70 %": Unstructured(0.7),
    "2:4": NOfM(2, 4),
}
PUBLISHED = {  # WikiText perplexity of Mixtral-8x7B, dense 3.84
    "50 %": "MoE-Pruner 4.68, Wanda 4.97",
    "2:4": "MoE-Pruner 5.88, Wanda 6.98",
}
FINE_TUNING_RATE = 2e-4
FOLDER = RUNS / "moe_pruner"


@dataclass(frozen=True)
class Amount:
    """How much is run: steps of training, draws of calibration sequences, sequences, steps of fine-tuning."""

    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = Training.steps
    draws: int = 2
    calibration: int = 64
    test: int = 200
    fine_tuning: int = 80


QUICK = Amount(seeds=(0,), steps=4, draws=1, calibration=8, test=8, fine_tuning=2)


@dataclass(frozen=True)
class Dense:
    """A trained network with the texts that it is pruned and measured by."""

    folder: Path
    amount: Amount
    seed: int

    def records(self) -> Iterator[dict[str, Any]]:
        """One for each published scheme, criterion and draw; and those that are trained on."""
        yield self.unpruned()
        yield from (self.pruned(*choice) for choice in self.choices(PUBLISHED, CRITERIA))
        for name in ("fine-tuned", "distilled"):
            yield self._remembered("50 %", f"moe_pruner, {name}", 0, partial(self._tuned, name))

    def choices(self, schemes: Iterable[str], criteria: Iterable[str]) -> Iterator[tuple[str, str, int]]:
        """Scheme, criterion and draw of calibration sequences, which magnitudes need none of."""
        for scheme, criterion in product(schemes, criteria):
            for draw in range(1 if criterion == "magnitude" else self.amount.draws):
                yield scheme, criterion, draw

    def unpruned(self) -> dict[str, Any]:
        """The dense network's perplexity, which an earlier run may have measured."""
        return self._remembered(
            "dense", "dense", 0, lambda: {"perplexity": self._perplexity(load(self.folder)[0])}
        )

    def pruned(self, scheme: str, criterion: str, draw: int) -> dict[str, Any]:
        """Perplexity and density of a pruned network, which an earlier run may have measured."""
        return self._remembered(scheme, criterion, draw, partial(self._pruned, scheme, criterion, draw))

    def _remembered(
        self, scheme: str, criterion: str, draw: int, make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        described = {"scheme": scheme, "criterion": criterion, "seed": self.seed, "draw": draw}
        name = f"{self.folder.name}-{self.amount.calibration}-{self.amount.test}-{self.amount.fine_tuning}"
        return described | remembered(f"moe_pruner/{name}/{scheme}-{criterion}-{draw}", make)

    def _perplexity(self, network: MixtralForCausalLM) -> float:
        return perplexity(network, self.tokens("wikitext2_test")[: self.amount.test])

    def tokens(self, name: str) -> Tensor:
        """A text's sequences `[n, LENGTH]`."""
        return sequences(load(self.folder)[1], text(name))

    def prune(self, output: str, settings: ExpertPruning) -> tuple[MixtralForCausalLM, dict[str, Any]]:
        """The network that pruning writes into the folder `output`, and the report of it."""
        tokens = drawn(self.tokens("wikitext2_valid"), self.amount.calibration, settings.seed)
        report = prune_experts(self.folder, output, settings, tokens)
        return load(Path(output))[0], report

    def _pruned(self, scheme: str, criterion: str, draw: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as output:
            network, report = self.prune(output, ExpertPruning(SCHEMES[scheme], criterion, seed=draw))
            kept = {name: report[name] for name in ("density", "below_token_floor")}
            return {"perplexity": self._perplexity(network)} | kept

    def _tuned(self, name: str) -> dict[str, Any]:
        """Fine-tuning at half of every row, on the training text, with and without the dense experts."""
        with tempfile.TemporaryDirectory() as output:
            student, _ = self.prune(output, ExpertPruning(HALF))
            teacher = load(self.folder)[0] if name == "distilled" else None
            fine_tune(student, teacher, self.tokens("brown"), self.amount.fine_tuning, self.seed)
        kept = [float((weight != 0).double().mean()) for weight in experts_of(student).values()]
        return {"perplexity": self._perplexity(student), "density": statistics.fmean(kept)}


def fine_tune(
    student: MixtralForCausalLM, teacher: MixtralForCausalLM | None, tokens: Tensor, steps: int, seed: int
) -> None:
    """Train all weights but the experts' zeros; the paper's loss where there is a teacher."""
    plan = Plan(tuple(Rule(name, HALF) for name in experts_of(student)))
    masked = begin(MaskedFineTuning(), student, plan)
    experts = begin(ExpertDistillation(teacher), student, plan) if teacher is not None else None
    optimizer = torch.optim.AdamW(student.parameters(), lr=FINE_TUNING_RATE)
    student.train()
    for batch in batches(tokens, steps, seed + 1000):
        loss = student(batch, labels=batch).loss
        if experts is not None:
            experts.balance(loss)
            loss = loss + experts.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        masked.after_step()
    for session in (masked, experts):
        if session is not None:
            session.finish()


def experts_of(network: MixtralForCausalLM) -> dict[str, Tensor]:
    """The experts' parameters by name."""
    return {name: weight for name, weight in network.named_parameters() if ".experts." in name}


def drawn(tokens: Tensor, count: int, seed: int) -> Tensor:
    """Random sequences for calibration."""
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed))
    return tokens[order[:count]]


def run(quick: bool) -> Check:
    """Train, prune, measure, fine-tune."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    amount = QUICK if quick else Amount()
    records: list[dict[str, Any]] = []
    for seed in amount.seeds:
        dense = dense_checkpoint(FOLDER / f"dense-{amount.steps}-{seed}", Training(amount.steps, seed=seed))
        records += Dense(dense, amount, seed).records()
    differences = (
        "a mixture of 3.9 million weights trained here in place of Mixtral-8x7B; perplexity per token of its own",
        f"trainings: {len(amount.seeds)}; draws of calibration sequences for each: {amount.draws}",
        "calibrated on WikiText-2 valid, not C4; fine-tuned on the training text for few steps",
    )
    return Check(tuple(findings(records)), differences, amount.seeds, {"records": records})


def findings(records: list[dict[str, Any]]) -> list[Finding]:
    """The paper's orders: a gap counts that a paired test over seeds shows (`ahead`)."""
    unpruned = by_seed(records, "dense", "dense")
    dense, found = listed({"dense": unpruned}), []
    for scheme, published in PUBLISHED.items():
        values = {criterion: by_seed(records, scheme, criterion) for criterion in CRITERIA}
        claim, ours, measured = f"at {scheme} MoE-Pruner loses less than", "moe_pruner", listed(values)
        for others in (("wanda",), ("magnitude", "random")):
            holds = all(ahead(values[other], values[ours]) for other in others)
            found.append(
                Finding(
                    f"{claim} {' and '.join(others)}",
                    published if "wanda" in others else "",
                    f"{measured}; {dense}",
                    verdict(holds),
                    f"a random mask is a control of ours; {why_alike(unpruned, values)}"
                    if "random" in others
                    else why_alike(unpruned, values),
                )
            )
    tuned, taught = (by_seed(records, "50 %", f"moe_pruner, {name}") for name in ("fine-tuned", "distilled"))
    before = by_seed(records, "50 %", "moe_pruner")
    return [
        *found,
        Finding(
            "dense experts as teachers do better than fine-tuning alone",
            "",
            listed({"distilled": taught, "fine-tuned": tuned, "before": before}),
            verdict(ahead(tuned, taught)),
            "zeros stay exactly zero in both; fine-tuning is on the training text, Brown, the test is WikiText-2: "
            f"perplexity there grows {grown(before, tuned)} by fine-tuning, {grown(before, taught)} with teachers",
        ),
    ]


def why_alike(dense: Sequence[float], values: Mapping[str, Sequence[float]]) -> str:
    """What there was for criteria to differ by."""
    ours, wanda = values["moe_pruner"], values["wanda"]
    gaps = ", ".join(f"{one - other:+.2f}" for one, other in zip(ours, wanda, strict=True))
    return (
        f"MoE-Pruner beside Wanda, seed by seed: {gaps}. Perplexity grows {grown(dense, wanda)} by Wanda and "
        f"{grown(dense, values['random'])} at random: experts trained this briefly have weights to spare, and where a "
        "token's two gates are alike, as a balanced router makes them, both scores rank nearly alike"
    )


def grown(before: Sequence[float], after: Sequence[float]) -> str:
    """Growth of the mean.

    >>> grown([10.0], [10.3])
    '+3.0 %'
    """
    return f"{100 * (statistics.fmean(after) / statistics.fmean(before) - 1):+.1f} %"


def by_seed(records: list[dict[str, Any]], scheme: str, criterion: str) -> list[float]:
    """Mean perplexity over draws of what was measured for one scheme and criterion, for every seed."""
    chosen = [entry for entry in records if (entry["scheme"], entry["criterion"]) == (scheme, criterion)]
    seeds = sorted({entry["seed"] for entry in chosen})
    return [
        statistics.fmean(entry["perplexity"] for entry in chosen if entry["seed"] == seed) for seed in seeds
    ]


def listed(values: Mapping[str, Sequence[float]]) -> str:
    """Mean perplexity and its spread over seeds by name.

    >>> listed({"wanda": [9.0, 11.0], "dense": [8.0]})
    'wanda 10.00 ± 1.41, dense 8.00'
    """
    spreads = {
        name: f" ± {statistics.stdev(each):.2f}" if len(each) > 1 else "" for name, each in values.items()
    }
    return ", ".join(f"{name} {statistics.fmean(each):.2f}{spreads[name]}" for name, each in values.items())


if __name__ == "__main__":
    sys.exit(main("moe_pruner", __doc__, run))
