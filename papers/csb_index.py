"""Bits of index that CSB and others spend on a weight, counted exactly, as a memory of odd widths would hold them.

An index is what a packed form says beside the weights: rows and columns of a block and how many there are of each
(CSB), a column for every weight and where each row begins (CSR), a place in the bank or in the segment (BBS, DARB), and
the rows of DARB in the order of their lengths.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from papers.masks import Shape, Steps
from papers.record import Finding, verdict
from papers.speech_trials import Study, Subject, pruned_names
from spokeshave.schemes.bits import bits_for
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.density_adaptive_blocks import DensityAdaptiveBlocks
from spokeshave.schemes.packed import Coordinates, DenseBlocks
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.segments import Segments
from spokeshave.schemes.unstructured import Unstructured


@dataclass(frozen=True)
class Index:
    """Numbers of an index and their bits, for so many weights."""

    weights: int
    entries: int
    bits: int


def index_of(scheme: Scheme, weight: Tensor) -> Index:
    """What the matrix of a scheme spends.

    >>> import torch
    >>> index_of(Unstructured(0.5), torch.eye(2))  # 2 columns of a bit, and 3 beginnings of rows up to 2
    Index(weights=2, entries=5, bits=8)
    >>> index_of(CompressedBlocks(0.5, (2, 2)), torch.eye(4)[:2])  # a row and a column of a bit; counts up to 2
    Index(weights=4, entries=8, bits=12)
    """
    packed, (rows, columns) = scheme.pack(weight), weight.shape
    if isinstance(packed, Coordinates):
        kept = packed.values.numel()
        return Index(kept, kept + rows + 1, kept * bits_for(columns) + (rows + 1) * bits_for(kept + 1))
    if isinstance(packed, DenseBlocks):
        assert isinstance(scheme, CompressedBlocks)
        return _of_blocks(packed, scheme.block)
    assert isinstance(packed, Segments)
    return _of_segments(packed)


def _of_blocks(packed: DenseBlocks, block: tuple[int, int]) -> Index:
    grid = -(-packed.shape[0] // block[0]) * -(
        -packed.shape[1] // block[1]
    )  # an empty block has its counts too
    tall, wide = (sum(len(getattr(one, name)) for one in packed.blocks) for name in ("rows", "columns"))
    counts = grid * (bits_for(block[0] + 1) + bits_for(block[1] + 1))
    return Index(
        sum(one.values.numel() for one in packed.blocks),
        tall + wide + 2 * grid,
        tall * bits_for(block[0]) + wide * bits_for(block[1]) + counts,
    )


def _of_segments(packed: Segments) -> Index:
    weights = sum(group.values.numel() for group in packed.groups)
    places = sum(group.values.numel() * bits_for(group.length) for group in packed.groups)
    listed = sum(len(group.rows) for group in packed.groups if group.rows is not None)
    return Index(weights, weights + listed, places + listed * bits_for(packed.shape[0]))


def index_costs(
    setting: Study, subject: Subject, compared: Mapping[str, tuple[str, Steps]]
) -> dict[str, dict[str, float]]:
    """By scheme, label and steps given: entries and bits a weight of the trained matrices, of all seeds together.

    CSB's matrices are counted as compressed sparse rows too, and the dense network's in DARB with as many weights.
    """
    label, steps = compared["CSB"]

    def sparsity(shape: Shape) -> float:
        scheme = steps[-1](shape)
        assert isinstance(scheme, CompressedBlocks)
        return scheme.sparsity

    found = {name: _costs(setting, subject, *one, one[1][-1]) for name, one in compared.items()}
    return found | {
        "CSB as CSR": _costs(setting, subject, label, steps, lambda shape: Unstructured(sparsity(shape))),
        "DARB": _costs(setting, subject, "dense", [], lambda shape: DensityAdaptiveBlocks(sparsity(shape))),
    }


def _costs(
    setting: Study, subject: Subject, label: str, steps: Steps, form: Callable[[Shape], Scheme]
) -> dict[str, float]:
    indices = []
    for seed in setting.seeds:
        network = setting.network(subject, label, steps, seed)
        for name in pruned_names(network):
            weight = network.get_parameter(name).detach()
            scheme = form(tuple(weight.shape))
            indices.append(index_of(scheme, weight if scheme.contains(weight) else scheme.project(weight)))
    weights = sum(one.weights for one in indices)
    entries, bits = sum(one.entries for one in indices), sum(one.bits for one in indices)
    return {"weights": weights / len(setting.seeds), "entries": entries / weights, "bits": bits / weights}


def judgement(subject: Subject, index: Mapping[str, Mapping[str, float]]) -> Finding:
    """Whether CSB's index is shorter than that of compressed sparse rows, with the same weights left."""
    ours, theirs = index["CSB"], index["CSB as CSR"]
    return Finding(
        f"{subject.kind.upper()}: CSB's index is far shorter than that of compressed sparse rows",
        "",
        "bits of index a weight (entries a weight): "
        + ", ".join(f"{name} {one['bits']:.2f} ({one['entries']:.2f})" for name, one in index.items()),
        verdict(2 * ours["bits"] < theirs["bits"]),
        f"far: less than half, here {ours['bits'] / theirs['bits']:.2f}; exact bits, counts and beginnings of rows "
        "included, of the trained matrices at the rates of the searches; single weights as compressed sparse rows; "
        "DARB in one shot of the dense networks, with as many weights as CSB",
    )
