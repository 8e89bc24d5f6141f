"""MoE-Pruner (arXiv 2410.12013): experts of a mixture pruned by weights, inputs and router gates; experts distilled.

A small Mixtral is trained on the Brown corpus (about a quarter of an hour on two quiet cores; kept in runs/papers),
calibrated on WikiText-2 valid, and its perplexity measured on WikiText-2 test: dense, and at half of every row
and at 2:4 by MoE-Pruner, Wanda, magnitude and at random, over draws of calibration sequences; then the
network at half is trained on with its zeros kept, with and without its dense experts as teachers.
"""

import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MixtralForCausalLM
from transformers.utils import logging

from papers.record import Check, Finding, main, verdict
from papers.small_mixtral import Training, batches, dense_checkpoint, load, perplexity, sequences, text
from spokeshave.methods import ExpertDistillation, MaskedFineTuning, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.streaming import ExpertPruning, prune_experts
from spokeshave.streaming.settings import CRITERIA

HALF = Unstructured(0.5)
SCHEMES = {"50 %": HALF, "2:4": NOfM(2, 4)}
PUBLISHED = {  # WikiText perplexity of Mixtral-8x7B, dense 3.84
    "50 %": "MoE-Pruner 4.68, Wanda 4.97",
    "2:4": "MoE-Pruner 5.88, Wanda 6.98",
}
FINE_TUNING_RATE = 2e-4
FOLDER = Path("runs/papers/moe_pruner")


@dataclass(frozen=True)
class Amount:
    """How much is run: steps of training, draws of calibration sequences, sequences, steps of fine-tuning."""

    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int = Training.steps
    draws: int = 3
    calibration: int = 128
    test: int = 500
    fine_tuning: int = 200


QUICK = Amount(seeds=(0,), steps=4, draws=1, calibration=8, test=8, fine_tuning=2)


def pruned_perplexities(dense: Path, amount: Amount, seed: int) -> Iterator[dict[str, Any]]:
    """One record for each scheme, criterion and draw of calibration sequences."""
    _, tokenizer = load(dense)
    valid = sequences(tokenizer, text("wikitext2_valid"))
    test = sequences(tokenizer, text("wikitext2_test"))[: amount.test]
    for scheme in SCHEMES:
        for criterion in CRITERIA:
            for draw in range(1 if criterion == "magnitude" else amount.draws):
                tokens = drawn(valid, amount.calibration, draw)
                with tempfile.TemporaryDirectory() as folder:
                    settings = ExpertPruning(SCHEMES[scheme], criterion, seed=draw)
                    report = prune_experts(dense, folder, settings, tokens)
                    found = perplexity(load(Path(folder))[0], test)
                yield {
                    "scheme": scheme,
                    "criterion": criterion,
                    "seed": seed,
                    "draw": draw,
                    "perplexity": found,
                    "density": report["density"],
                    "below_token_floor": report["below_token_floor"],
                }


def distilled_perplexities(dense: Path, amount: Amount, seed: int) -> Iterator[dict[str, Any]]:
    """Fine-tuning of the network at half of every row, on the training text, with and without the dense experts."""
    teacher, tokenizer = load(dense)
    train = sequences(tokenizer, text("brown"))
    test = sequences(tokenizer, text("wikitext2_test"))[: amount.test]
    tokens = drawn(sequences(tokenizer, text("wikitext2_valid")), amount.calibration, 0)
    for name in ("fine-tuned", "distilled"):
        with tempfile.TemporaryDirectory() as folder:
            prune_experts(dense, folder, ExpertPruning(HALF), tokens)
            student, _ = load(Path(folder))
        fine_tune(student, teacher if name == "distilled" else None, train, amount.fine_tuning, seed)
        kept = [float((weight != 0).double().mean()) for weight in experts_of(student).values()]
        found = {"perplexity": perplexity(student, test), "density": statistics.fmean(kept)}
        yield {"scheme": "50 %", "criterion": f"moe_pruner, {name}", "seed": seed} | found


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
        network, tokenizer = load(dense)
        test = sequences(tokenizer, text("wikitext2_test"))[: amount.test]
        found = perplexity(network, test)
        records.append({"scheme": "dense", "criterion": "dense", "seed": seed, "perplexity": found})
        records += pruned_perplexities(dense, amount, seed)
        records += distilled_perplexities(dense, amount, seed)
    differences = (
        "a mixture of 3.9 million weights trained here in place of Mixtral-8x7B; perplexity per token of its own",
        "calibrated on WikiText-2 valid, not C4; fine-tuned on the training text for few steps",
    )
    return Check(tuple(findings(records)), differences, amount.seeds, {"records": records})


def findings(records: list[dict[str, Any]]) -> list[Finding]:
    """The paper's orders, by mean perplexity over seeds and draws."""
    dense = mean_of(records, "dense", "dense")
    found = []
    for scheme, published in PUBLISHED.items():
        means = {criterion: mean_of(records, scheme, criterion) for criterion in CRITERIA}
        measured = ", ".join(f"{criterion} {value:.2f}" for criterion, value in means.items())
        ours = means["moe_pruner"]
        claim = f"at {scheme} MoE-Pruner loses less than Wanda, magnitude and a random mask"
        found.append(
            Finding(claim, published, f"{measured} (dense {dense:.2f})", verdict(ours == min(means.values())))
        )
    tuned, taught = (mean_of(records, "50 %", f"moe_pruner, {name}") for name in ("fine-tuned", "distilled"))
    return [
        *found,
        Finding(
            "dense experts as teachers do better than fine-tuning alone",
            "",
            f"{taught:.2f} against {tuned:.2f} (before {mean_of(records, '50 %', 'moe_pruner'):.2f})",
            verdict(taught < tuned),
            "zeros stay exactly zero in both",
        ),
    ]


def mean_of(records: list[dict[str, Any]], scheme: str, criterion: str) -> float:
    """Mean perplexity of what was measured for one scheme and criterion."""
    return statistics.fmean(
        entry["perplexity"]
        for entry in records
        if (entry["scheme"], entry["criterion"]) == (scheme, criterion)
    )


if __name__ == "__main__":
    sys.exit(main("moe_pruner", __doc__, run))
