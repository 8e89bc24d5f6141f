"""Our own contenders: a network pruned in one shot at several compressions, compiled, and checked against PyTorch."""

import copy
import time
from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.catalogue import Case
from bench.store import Made, kept
from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.compiler.isa import best_here
from spokeshave.compiler.schedule import rows_to_share
from spokeshave.errors import SpokeshaveError
from spokeshave.measure import Absent, relative_error
from spokeshave.measure.peers import TOLERANCES, Precision
from spokeshave.methods import OneShot, begin
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.scheme import Scheme
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.schemes.whole_blocks import Blocks
from spokeshave.weights import Weight, weights_of

OWN_NAME = "spokeshave"
COLUMN_GROUP: dict[Precision, int] = {"fp32": 1, "bf16": 2, "int8": 4}
ELEMENTS: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "int8": "uint8"}
FULL_NAMES: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
KERNEL_BLOCK = (32, 9)
"""Kernels of 3 x 3 in float32 are kept or left out for so many outputs together: what Winograd's algorithm skips."""
LEAST_COLUMNS = 16
"""A weight with fewer columns, such as a depthwise convolution's, stays dense."""


@dataclass(frozen=True)
class Own:
    """One of our deployments; `error` is against PyTorch on the same pruned weights, `kept` a share of all weights."""

    precision: Precision
    compression: float
    deployment: NativeDeployment
    error: float
    kept: float
    build_seconds: float


def plan_for(
    network: nn.Module,
    compression: float,
    case: Case,
    precision: Precision = "fp32",
    unstructured: bool = False,
) -> Plan | None:
    """All layers that are worth it at the same compression, rows sharing their columns as the case says; or None.

    On a CPU with AMX more rows share theirs in int8 and bf16: as many as tile registers take. Convolutions of 3 x 3
    lose whole kernels in float32 (`KERNEL_BLOCK`). In int8 (bf16) neighbouring input channels are kept in fours (pairs)
    where the layer has whole ones: one word of the kernels.
    What reads the network's own input, a first convolution or recurrent layer, stays dense unless the case says
    otherwise; depthwise convolutions always do.
    """
    if compression <= 1:
        return None
    weights = [weight for weight in weights_of(network) if weight.wanted]
    isa, element = best_here(), ELEMENTS[precision]
    in_tiles = isa.has_amx and element != "float32"
    rows = max(case.rows, rows_to_share(isa, element)) if in_tiles else case.rows
    rules = []
    for position, weight in enumerate(weights):
        dense = _stays_dense(weight, position == 0 and not case.prune_first)
        scheme = None if dense else _scheme(weight.shape, 1 - 1 / compression, rows, precision)
        scheme = Unstructured(1 - 1 / compression) if scheme and unstructured else scheme
        rules.append(Rule(weight.parameter, scheme))
    return Plan(tuple(rules))


def _stays_dense(weight: Weight, first: bool) -> bool:
    reads_input = first and (len(weight.shape) > 2 or "weight_ih" in weight.parameter)
    return reads_input or prod(weight.shape[1:]) < LEAST_COLUMNS


def _scheme(shape: tuple[int, ...], sparsity: float, rows: int, precision: Precision) -> Scheme:
    if precision == "fp32" and shape[2:] == (3, 3) and shape[0] >= KERNEL_BLOCK[0]:
        return Blocks(sparsity, block=KERNEL_BLOCK)
    group = COLUMN_GROUP[precision] if shape[1] % COLUMN_GROUP[precision] == 0 else 1
    return BlockColumnRow(sparsity, block=(min(rows, shape[0]), prod(shape[1:])), column_group=group)


def pruned(network: nn.Module, plan: Plan | None) -> nn.Module:
    """A copy of the network, projected onto the plan."""
    network = copy.deepcopy(network)
    if plan is not None:
        begin(OneShot(), network, plan).finish()
    return network.eval()


@dataclass(frozen=True)
class Makes:
    """How deployments of one network are made; they are kept in `folder`, which is this network's alone."""

    case: Case
    network: nn.Module
    inputs: tuple[Tensor, ...]
    folder: Path
    tune: bool = False

    def one(self, compression: float, precision: Precision, unstructured: bool = False) -> Own:
        """Prune, compile and check, or take what was kept; raises SpokeshaveError where that cannot be."""
        plan = plan_for(self.network, compression, self.case, precision, unstructured)
        rules = plan.to_yaml() if plan else ""
        name = f"{precision}-{compression:g}x{'-unstructured' if unstructured else ''}{'-tuned' if self.tune else ''}"
        deployment, facts = kept(self.folder / name, rules, lambda: self._make(plan, precision, compression))
        return Own(precision, compression, deployment, **facts)

    def _make(self, plan: Plan | None, precision: Precision, compression: float) -> Made:
        """As those of the peers, int8 deployments are calibrated on the sample itself."""
        smaller = pruned(self.network, plan)
        start = time.perf_counter()
        deployment = compile_network(
            smaller,
            self.inputs,
            plan,
            tune=self.tune,
            precision=FULL_NAMES[precision],
            calibration=[self.inputs] if precision == "int8" else None,
        )
        seconds = time.perf_counter() - start
        with torch.inference_mode():
            error = relative_error(deployment(*self.inputs), smaller(*self.inputs))
        if error > TOLERANCES[precision]:
            raise SpokeshaveError(
                f"our {precision} outputs at {compression:g}x differ from PyTorch's by {error:.1e}"
            )
        return deployment, {"error": error, "kept": kept_share(smaller), "build_seconds": seconds}


def deployments(
    makes: Makes, compressions: Collection[float], precisions: Collection[Precision]
) -> tuple[list[Own], list[Absent]]:
    """Every compression in every precision, and those that cannot be, with the reason; 1 is the dense network."""
    found: list[Own] = []
    missing: list[Absent] = []
    for compression, precision in product(compressions, precisions):
        try:
            found.append(makes.one(compression, precision))
        except SpokeshaveError as reason:
            missing.append(Absent(f"{OWN_NAME} {compression:g}x", str(reason), precision))
    return found, missing


def kept_share(network: nn.Module) -> float:
    """Weights that are not zero, as a share of the weights that a plan could name."""
    named = dict(network.named_parameters())
    weights = [named[weight.parameter] for weight in weights_of(network) if weight.wanted]
    return sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)
