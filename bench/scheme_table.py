"""Every scheme on every kind of layer: accuracy, density, bytes and time -> bench/results/scheme_table.json.

    python -m bench.scheme_table
    python -m bench.scheme_table --kind GRU

Trained networks are brought into a scheme layer by layer, without training (`papers/layerwise.py`): convolutions of a
CIFAR-10 ResNet-20, linear layers of the keyword transformer KWT-1, recurrent matrices of the keyword networks GRU-400
and LSTM-500; all but a network's first and last layer. What leaves levels out is compiled in int8 as well, the
precision that serves levels (not a codebook's, whose rows are rounded to 255 levels there). `removed` has tensors that
shrink (`spokeshave.structures`): outputs of layers go, by the sizes of weights and inputs, until that part of the
multiply-adds is left. Accuracy is the deployment's, on test data; `weight_bytes` are those of its weights,
`packed_bytes` those of the pruned layers as their schemes store them (`scheme.pack`), the dense ones in float32; time
is that of one call, one thread, every deployment of a kind in one interleaved run. What was pruned is kept in
runs/papers, so a run that was stopped goes on where it was, and after `--prepare` only times.
"""

import argparse
import sys
from collections.abc import Callable, Collection
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from papers.deployments import Store, Trial, discard, store, with_times
from papers.layerwise import Subject, cnn, gru, lstm, right_answers, transformer, trial
from papers.masks import Shape, width

from bench.records import RESULTS, join, provenance
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.criteria import InputNorm
from spokeshave.methods import refresh_batch_norm
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.block_structured import BlockStructured
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.n_of_m import NOfM
from spokeshave.schemes.patterns import Patterns
from spokeshave.schemes.quantizers import Binary, Codebook, FixedPoint, PowerOfTwo
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import BlockPunched, Blocks
from spokeshave.structures import MultiplyAdds, remove_structures

SUBJECTS: dict[str, tuple[Callable[[int, bool], Subject], int]] = {
    "CNN": (partial(cnn, fitted=512, passes=1), 2),
    "transformer": (transformer, 2),
    "GRU": (gru, 4),
    "LSTM": (lstm, 4),
}  # how many times fewer weights
ALL = "all"
REMOVED = "removed"  # no scheme: the tensors shrink
WHOLE = (
    "GRU",
    "LSTM",
)  # cells whose gates are cut out of one matrix by hand, which `remove_structures` leaves
FromShape = Callable[[Shape], Scheme]


def pruning_schemes(rate: int) -> dict[str, FromShape]:
    """What leaves weights out, by the names that plans use."""
    sparsity = 1 - 1 / rate
    return {
        "unstructured": lambda shape: Unstructured(sparsity),
        "n_of_m": lambda shape: NOfM(4 // rate, 4),
        "n_of_m along columns": lambda shape: NOfM(1, rate, "columns"),
        "density_adaptive_blocks": lambda shape: DensityAdaptiveBlocks(sparsity),
        "compressed_blocks": lambda shape: CompressedBlocks(sparsity, (16, min(16, width(shape)))),
        "block_column_row": lambda shape: BlockColumnRow(sparsity, (8, width(shape))),
        "block_structured": lambda shape: BlockStructured(sparsity, (16, min(64, width(shape)))),
        "blocks": lambda shape: Blocks(sparsity, (8, 4)),
        "block_punched": lambda shape: BlockPunched(sparsity, (8, 4)),
        "columns": lambda shape: Blocks(sparsity, (shape[0], 1)),
        "rows": lambda shape: Blocks(sparsity, (1, width(shape))),
        "patterns": lambda shape: Patterns(),
        "patterns, 8 filters share": lambda shape: Patterns(filters_sharing=8),
    }


def quantizing_schemes(rate: int) -> dict[str, FromShape]:
    """What leaves levels out, alone and in what prunes."""
    sparsity = 1 - 1 / rate
    return {
        "fixed_point, 8 bits": lambda shape: FixedPoint(8),
        "fixed_point, 4 bits": lambda shape: FixedPoint(4),
        "power_of_two, 4 bits": lambda shape: PowerOfTwo(4),
        "binary": lambda shape: Binary(),
        "codebook, 4 bits": lambda shape: Codebook(4),
        "mixed_rows, fixed point and power of two": lambda shape: MixedRows(
            FixedPoint(4), PowerOfTwo(4), 0.5
        ),
        "mixed_rows, 8 and 4 bits": lambda shape: MixedRows(FixedPoint(8), FixedPoint(4), 0.5),
        "block_column_row & fixed_point, 8 bits": lambda shape: (
            BlockColumnRow(sparsity, (8, width(shape))) & FixedPoint(8)
        ),
        "patterns & power_of_two, 4 bits": lambda shape: Patterns() & PowerOfTwo(4),
    }


def serves(scheme: FromShape, subject: Subject) -> bool:
    """Whether every layer can be in the scheme."""
    shapes = [tuple(subject.core.get_parameter(name).shape) for name in subject.names]
    return all(scheme(shape).supports(shape) is None for shape in shapes)


def removed(kept: Store, subject: Subject, rate: int) -> Trial:
    """The subject with a `rate`-th of its multiply-adds left; its density is what is left of the layers' weights."""

    def make() -> tuple[dict[str, Any], NativeDeployment]:
        batches = list(islice(subject.data.train, subject.passes))
        found = remove_structures(subject.core, subject.example, MultiplyAdds(1 / rate), InputNorm(), batches)
        refresh_batch_norm(found.network, batches, subject.passes)
        deployment = compile_network(found.network.eval(), subject.example)
        right = right_answers(subject.listen(deployment), subject.data.held_out)
        sizes = [
            sum(network.get_parameter(name).numel() for name in subject.names)
            for network in (found.network, subject.core)
        ]
        return {
            "kind": subject.kind,
            "scheme": REMOVED,
            "seed": 0,
            "precision": "float32",
            "density": sizes[0] / sizes[1],
            "packed_bytes": 4 * sizes[0],
            "test": right.count("1") / len(right),
            "weight_bytes": deployment.manifest.weight_bytes,
        }, deployment

    return kept.trial(
        f"{REMOVED}-{subject.kind}", (subject.about, rate, subject.fitted, subject.passes), make
    )


def trials(kept: Store, subject: Subject, rate: int, names: Collection[str]) -> list[Trial]:
    """The subject dense and in every scheme that serves it (of those named); levels, and dense, in int8 as well."""

    def wanted(schemes: dict[str, FromShape]) -> dict[str, FromShape]:
        return {
            name: scheme
            for name, scheme in schemes.items()
            if (name in names or not names) and serves(scheme, subject)
        }

    levels = wanted(quantizing_schemes(rate))
    schemes = {"dense": None} | wanted(pruning_schemes(rate)) | levels
    found = [trial(kept, subject, name, scheme, 0) for name, scheme in schemes.items()]
    if (REMOVED in names or not names) and subject.kind not in WHOLE:
        found.append(removed(kept, subject, rate))
    integers = {"dense": None} | levels
    return found + [
        trial(kept, subject, name, scheme, 0, precision="int8") for name, scheme in integers.items()
    ]


def made(kind: str, names: Collection[str] = ()) -> tuple[Subject, list[Trial]]:
    """The subject of a kind and its trials, of all schemes or the named ones; those of earlier runs from the disk."""
    make, rate = SUBJECTS[kind]
    subject = make(0, False)
    with store(False) as kept:
        return subject, trials(kept, subject, rate, names)


def measure(kind: str, rounds: int, names: Collection[str] = ()) -> dict[str, Any]:
    """The rows of one kind, of all schemes or the named ones beside dense; the deployments are then removed."""
    subject, found = made(kind, names)
    origin, rows = provenance(1), with_times(found, subject.example, rounds)
    discard(found)
    about = {"kind": kind, "schemes": ", ".join(names) or ALL, "network": subject.about}
    return {**about, "rate": SUBJECTS[kind][1], **origin, "rows": rows}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=SUBJECTS, action="append", help="otherwise all")
    parser.add_argument("--scheme", action="append", help="otherwise all")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument(
        "--prepare", action="store_true", help="prune and compile what is missing; time nothing"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "scheme_table.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for kind in arguments.kind or SUBJECTS:
        if arguments.prepare:
            made(kind, arguments.scheme or ())
        else:
            join(
                arguments.output, measure(kind, arguments.rounds, arguments.scheme or ()), ("kind", "schemes")
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
