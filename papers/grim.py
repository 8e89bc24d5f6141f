"""GRIM (arXiv 2108.11033): block column-row pruning (BCR) of a CNN and a GRU, and what the size of a block does.

A pretrained CIFAR-10 ResNet-20 and the keyword network GRU-400 with its trained weights are pruned layer by layer, by
ADMM on each layer's outputs (`Reconstruction`), with BCR in blocks of several sizes, single weights, whole columns,
whole rows (filters) and BCR at random, at equal realised density; three seeds draw the data that layers are fitted to.
All are judged through the compiled deployment on test data and timed in one interleaved run, beside dense peers.
"""

import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from papers.deployments import Store, Trial, first_seed, store, timed
from papers.layerwise import TEST_IMAGES, Subject, cnn, gru, trial
from papers.masks import Shape, width
from papers.record import Check, Finding, main, verdict
from papers.speech_trials import in_order, judged
from papers.trials import ahead, spread
from spokeshave.measure import dense_peers
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks

ROW_SPARSITY = 0.25  # of the rows in every block of BCR
RATES = {"CNN": 2, "GRU": 8}
SIZES = {"CNN": ((4, 16), (16, 144)), "GRU": ((4, 16), (16, 50), (80, 100))}
PEERS = ("eager", "onnxruntime")
NEAR = 1.1  # a block's time is near the least one below this factor


def schemes(kind: str) -> dict[str, Callable[[Shape], Scheme]]:
    """What is compared at the rate of a kind of network."""
    sparsity = 1 - 1 / RATES[kind]

    def blocks(block: tuple[int, int], row_sparsity: float = ROW_SPARSITY) -> Callable[[Shape], Scheme]:
        def scheme(shape: Shape) -> Scheme:
            clipped = min(block[0], shape[0]), min(block[1], width(shape))
            return BlockColumnRow(sparsity, clipped, row_sparsity)

        return scheme

    return {
        "unstructured": lambda shape: Unstructured(sparsity),
        **{f"BCR {rows} x {columns}": blocks((rows, columns)) for rows, columns in SIZES[kind]},
        "{} x {} without rows".format(*SIZES[kind][-1]): blocks(SIZES[kind][-1], 0.0),
        "columns": lambda shape: Blocks(sparsity, (shape[0], 1)),
        "rows": lambda shape: Blocks(sparsity, (1, width(shape))),
    }


def run(quick: bool) -> Check:
    """Prune, judge, time."""
    torch.set_num_threads(1)
    seeds = (0,) if quick else (0, 1, 2)
    findings: list[Finding] = []
    data: dict[str, Any] = {}
    with store(quick) as kept:
        for make in (gru,) if quick else (cnn, gru):
            subjects = [make(seed, quick) for seed in seeds]
            trials = [
                one
                for seed, subject in zip(seeds, subjects, strict=True)
                for one in pruned(kept, subject, seed)
            ]
            first = subjects[0]
            conversions = kept.folder / f"peers-{first.kind}"
            peers, _ = dense_peers(first.core, first.example, only=PEERS, folder=conversions)
            calls = first_seed(trials, *first.example) | {peer.label: peer.run for peer in peers}
            found = {
                "rate": RATES[first.kind],
                "trials": [one.figures for one in trials],
                "milliseconds": timed(calls, 3 if quick else 21),
                "peers": [peer.label for peer in peers],
            }
            data[first.about] = found
            findings += judgements(first, found)
    differences = (
        "layer-wise ADMM on each layer's outputs, without training; the paper trains under ADMM and retrains",
        "ResNet-20 and GRU-400 in the place of VGG-16, ResNet-18, MobileNetV2, a GRU on TIMIT; this CPU, not a phone",
        f"a GRU's accuracy is that of 150 clips a seed, an image network's that of {TEST_IMAGES} images",
        "peers: PyTorch and ONNX Runtime, one thread; MNN, TVM and TFLite are not installed",
    )
    return Check(tuple(findings), differences, seeds, data)


def pruned(kept: Store, subject: Subject, seed: int) -> list[Trial]:
    """The network in every scheme, in one of them at random, and dense."""
    chosen = {name: (scheme, False) for name, scheme in schemes(subject.kind).items()}
    large = "BCR {} x {}".format(*SIZES[subject.kind][-1])
    chosen[f"random {large}"] = chosen[large][0], True
    trials = [trial(kept, subject, "dense", None, seed, random=False)]
    return trials + [
        trial(kept, subject, name, scheme, seed, random) for name, (scheme, random) in chosen.items()
    ]


def judgements(subject: Subject, found: dict[str, Any]) -> list[Finding]:
    """Accuracy by the size of blocks, time by it, and the gain over the peers."""
    test = judged(found["trials"], "test")
    times = {name: entry["milliseconds"] for name, entry in found["milliseconds"].items()}
    small, *others = ("BCR {} x {}".format(*size) for size in SIZES[subject.kind])
    large = others[-1]
    orders = [("unstructured", small, large, coarse) for coarse in ("rows", "columns")]
    pairs = dict.fromkeys(pair for order in orders for pair in pairwise(order))
    alike = [f"{one} and {other}" for one, other in pairs if not ahead(test[one], test[other])]
    least = min(times[name] for name in (small, *others))
    near = next(name for name in (small, *others) if times[name] <= NEAR * least)
    peer = min(found["peers"], key=times.__getitem__)
    about = f"{subject.about}, {found['rate']}x"
    accuracy = ", ".join(f"{name} {spread(values)}" for name, values in test.items())
    return [
        Finding(
            f"{about}: single weights >= small blocks >= large blocks >= whole rows and columns, and above random",
            "",
            f"accuracy: {accuracy}",
            verdict(
                all(in_order([test[name] for name in order]) for order in orders)
                and ahead(test[large], test[f"random {large}"])
            ),
            "'without rows': the largest blocks lose columns alone, which shows what the row step of BCR does; the "
            f"first not shown to be above the second: {', '.join(alike) or 'none'}",
        ),
        Finding(
            f"{about}: larger blocks are faster, until time no longer falls",
            "",
            ", ".join(f"{name} {1e3 * times[name]:.1f} us" for name in (small, *others))
            + f", single weights {1e3 * times['unstructured']:.1f} us; {near} is the smallest near the least",
            verdict(times[large] <= times[small] and least < times["unstructured"]),
        ),
        Finding(
            f"{about}: faster than dense peers",
            "up to 14.08x over MNN, TVM, TFLite and others on phones, all networks and rates",
            f"{near}: {times[peer] / times[near]:.2f}x {peer}, {times['dense'] / times[near]:.2f}x our dense code",
            "differs" if times[peer] > times[near] else "not reproduced",
            "networks, rates and peers are others, so the ratio is no measure of the paper's",
        ),
    ]


if __name__ == "__main__":
    sys.exit(main("grim", __doc__, run))
