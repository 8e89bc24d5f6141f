"""The CSB engine and the token selector on what real networks compute: rows for `fpga_simulation.py`.

The keyword GRU-400's recurrent matrices are projected on CompressedBlocks and rounded to 8 bits; what they read are the
states of real clips in the deployment for the ZCU102. Scores and tokens are those of the keyword transformer KWT-1:
the logits of its class token's attention through a sigmoid, in bytes, and the tokens in int8 by their largest.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from papers.keyword_transformer import heard_words
from papers.keywords import keywords
from torch import Tensor

from spokeshave.compiler.integers import IntegerDeployment
from spokeshave.compiler.integers.batched import batch_values
from spokeshave.compiler.operations import Quantized
from spokeshave.compiler.quantization.executor import integer_sums
from spokeshave.data import Batches
from spokeshave.devices import load_device
from spokeshave.devices.fpga.csb import Sharing
from spokeshave.devices.fpga.verilog.block_run import block_product, run_blocks
from spokeshave.devices.fpga.verilog.selection import select_tokens
from spokeshave.devices.fpga.verilog.selection_run import Image, run_selection, selection_cycles
from spokeshave.devices.fpga.verilog.simulation import Simulator
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.compressed_blocks import CompressedBlocks
from spokeshave.schemes.intersection import Intersection
from spokeshave.schemes.quantizers import FixedPoint

RATE, CLIPS, FRAME = 8, 4, 20
MATRICES = ("gates", "candidate")
CASES: tuple[tuple[tuple[int, int], int, int, Sharing], ...] = (  # block, lanes, columns, sharing
    ((32, 32), 4, 8, "down"),
    ((32, 32), 4, 8, "none"),
    ((32, 64), 8, 4, "down"),
)
SELECTED_BLOCKS, SELECTED_CLIPS, SHARE, COLUMNS = (3, 6, 9), 8, 0.34, 16


@dataclass(frozen=True)
class Recurrent:
    """A recurrent matrix in levels, what it reads for clips `[n, inputs]`, and the executor's sums `[n, rows]`."""

    name: str
    levels: Tensor
    x: Tensor
    sums: Tensor


@cache
def recurrent_matrices(block: tuple[int, int]) -> tuple[Recurrent, ...]:
    """The two of GRU-400, which read the state behind so many frames of each clip."""
    words = keywords(0)
    assert isinstance(words.clips.train, Batches)
    scheme = Intersection((CompressedBlocks(1 - 1 / RATE, block), FixedPoint(8)))
    plan = Plan(tuple(Rule(f"{name}.weight", scheme) for name in MATRICES))
    for name, one in plan.resolve(words.cell).items():
        weight = words.cell.get_parameter(name)
        weight.data = one.project(weight.data)
    frames, states = _heard(words.cell, words.clips.train.inputs)
    deployment = load_device("zcu102").deploy(
        words.cell, (frames[:1], states[:1]), plan, [((frames, states),)]
    )
    assert isinstance(deployment, IntegerDeployment)
    values = batch_values(deployment.graph, [frames[:CLIPS], states[:CLIPS]])
    found = {
        node.layer: _matrix(node.layer, node.operation, deployment, values[node.inputs[0]])
        for node in deployment.graph.nodes
        if isinstance(node.operation, Quantized) and node.layer in MATRICES
    }
    return tuple(found[name] for name in MATRICES)


def _matrix(name: str, operation: Quantized, deployment: IntegerDeployment, x: Tensor) -> Recurrent:
    """Levels as the engine has them: the zero point of what is read is taken off by the executor's sums."""
    levels = deployment.graph.weights[operation.weight]
    sums = integer_sums(operation, x, levels).long()
    return Recurrent(name, levels.long(), x.long(), sums + operation.input.zero_point * levels.long().sum(1))


@torch.no_grad()
def _heard(cell: Any, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Frame number `FRAME` of every clip, and the state before it."""
    state = clips.new_zeros(len(clips), cell.hidden)
    for frame in clips[:, :FRAME].unbind(1):
        _, state = cell(frame.contiguous(), state)
    return clips[:, FRAME].contiguous(), state


def block_rows(simulator: Simulator) -> Iterator[dict[str, Any]]:
    """Every case on both matrices: sums beside the executor's, cycles of a vector without zeros beside the model's."""
    for block, lanes, columns, sharing in CASES:
        for matrix in recurrent_matrices(block):
            began = time.perf_counter()
            product = block_product(matrix.levels, block, lanes, columns, sharing)
            offset = 128 if int(matrix.x.max()) > 127 else 0
            x = torch.cat((torch.arange(1, 1 + matrix.x.shape[1])[None] % 127 + 1, matrix.x - offset))
            totals = run_blocks(product, x, simulator)
            made = product.sums(totals)[1:] + offset * matrix.levels.sum(1)
            cycles = product.cycles(totals)[0]
            yield {
                "network": "GRU-400 in CSB",
                "layer": matrix.name,
                "engine": f"{lanes} lanes of 2 x {columns}, {sharing}",
                "block": block,
                "kept": int((matrix.levels != 0).sum()) / matrix.levels.numel(),
                "sums": made.numel(),
                "sums_that_differ": int((made != matrix.sums).sum()),
                "different_sums": len(made.unique()),
                "simulated_cycles": cycles,
                "modelled_cycles": product.modelled_cycles,
                "error": product.modelled_cycles / cycles - 1,
                "seconds": round(time.perf_counter() - began, 1),
            }


@torch.no_grad()
def attended() -> dict[int, list[Image]]:
    """By block of KWT-1: bytes by the class token's attention, and the block's tokens in int8, for several clips."""
    heard = heard_words(0)
    assert isinstance(heard.clips.train, Batches)
    network, frames = heard.network, heard.clips.train.inputs[:SELECTED_CLIPS]
    tokens = torch.cat((network.cls.expand(len(frames), -1, -1), network.embed(frames)), 1) + network.pos
    found = {}
    for place, block in enumerate(network.blocks):
        if place in SELECTED_BLOCKS:
            scores = (block.q(tokens[:, :1]) @ block.k(tokens).transpose(1, 2))[:, 0]  # type: ignore[operator]
            centred = (scores - scores.mean(1, keepdim=True)) / tokens.shape[-1] ** 0.5
            bytes_ = (255 * centred.sigmoid()).round().long()
            levels = (tokens / tokens.abs().amax((1, 2), keepdim=True) * 127).round().long()
            found[place] = list(zip(bytes_, levels, strict=True))
        tokens = block(tokens)
    return found


def selection_rows(simulator: Simulator) -> Iterator[dict[str, Any]]:
    """Every block: what is written beside `select_tokens` in whole numbers, cycles beside the model's."""
    for place, images in attended().items():
        began = time.perf_counter()
        threshold = int(torch.cat([scores for scores, _ in images]).double().quantile(SHARE).ceil())
        words = images[0][1].shape[1] // COLUMNS
        made = run_selection(images, threshold, COLUMNS, simulator)
        wanted = [select_tokens(scores, tokens, threshold) for scores, tokens in images]
        modelled = sum(
            selection_cycles(len(tokens), words, len(tokens) - len(one.kept))
            for (_, tokens), one in zip(images, wanted, strict=True)
        )
        cycles = sum(one.cycles for one in made)
        yield {
            "network": "KWT-1",
            "layer": f"tokens before blocks.{place}",
            "threshold": threshold,
            "tokens": [len(tokens) for _, tokens in images],
            "kept": [len(one.kept) for one in wanted],
            "levels": sum(one.tokens.numel() for one in wanted),
            "levels_that_differ": sum(
                _differ(one.tokens, own.selected.tokens) for one, own in zip(wanted, made, strict=True)
            ),
            "kept_that_differ": sum(
                not torch.equal(one.kept, own.selected.kept) for one, own in zip(wanted, made, strict=True)
            ),
            "simulated_cycles": cycles,
            "modelled_cycles": modelled,
            "error": modelled / cycles - 1,
            "seconds": round(time.perf_counter() - began, 1),
        }


def _differ(wanted: Tensor, made: Tensor) -> int:
    return int((wanted != made).sum()) if wanted.shape == made.shape else wanted.numel()
