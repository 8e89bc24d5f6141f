"""What Auto-ViT-Acc's check trains: a small transformer with rows of two formats, judged on an FPGA's integers."""

import copy
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from papers.small_vit import network_and_data
from papers.trials import remembered
from spokeshave.data import Batches, Data
from spokeshave.devices import load_device
from spokeshave.measure import evaluate
from spokeshave.methods import QuantizationAware, begin, train
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.mixed_rows import MixedRows
from spokeshave.schemes.quantizers import FixedPoint, PowerOfTwo
from spokeshave.schemes.scheme import Scheme

SHARE = 18 / 32  # of the rows of every layer: that of the engine which is fastest on DeiT-B
RATE, BATCH = 3e-4, 256
SEEDS, IMAGES, TESTED = (0, 1, 2), 4_096, 2_000
FLOAT = "float32"
MIXED = "8 bits and powers of two"

WAYS: dict[str, Scheme] = {
    MIXED: MixedRows(FixedPoint(8), PowerOfTwo(4), SHARE),
}


def plan_of(scheme: Scheme) -> Plan:
    """Every layer in the scheme, the first and the last too, as engines are modelled; queries, keys, values alike."""
    apart = scheme
    if isinstance(scheme, MixedRows):
        apart = MixedRows(scheme.first, scheme.second, scheme.share, parts=3)
    return Plan((Rule("blocks.*.qkv", apart), Rule("*", scheme)))


@cache
def subject() -> tuple[nn.Module, Data, str]:
    """The network, its data and what they are."""
    return network_and_data()


def trial(way: str, seed: int, images: int, tested: int) -> dict[str, Any]:
    """One network, trained for one pass in its formats: accuracy on the FPGA's integers, or in float32."""
    pretrained, data, _ = subject()
    network, data = copy.deepcopy(pretrained), data.batched(BATCH).shortened(images)
    optimizer = torch.optim.AdamW(network.parameters(), RATE)
    if way == FLOAT:
        train(network, data, 1, optimizer=optimizer, seed=seed)
        return {"way": way, "seed": seed, "accuracy": accuracy(network, data, tested)}
    plan = plan_of(WAYS[way])
    session = begin(QuantizationAware(), network, plan)
    train(network, data, 1, optimizer=optimizer, session=session, seed=seed)
    session.finish()
    example, calibration = next(iter(data.held_out))[0][:1], next(iter(data.train))[0]
    deployment = load_device("zcu102").deploy(network.eval(), example, plan, [calibration])
    found = {"fake": accuracy(network, data, tested), "accuracy": accuracy(deployment, data, tested)}
    return {"way": way, "seed": seed, **found}


def accuracy(network: Any, data: Data, tested: int) -> float:
    """On the first test images."""
    held_out = data.held_out
    assert isinstance(held_out, Batches)
    return evaluate(network, Batches(held_out.inputs[:tested], held_out.labels[:tested], 500)).top1


def trials(quick: bool) -> list[dict[str, Any]]:
    """Every way and seed; what earlier runs measured comes from the disk."""
    key = f"auto_vit_acc/{'quick-' if quick else ''}"
    images, tested = (BATCH, 200) if quick else (IMAGES, TESTED)
    return [
        remembered(f"{key}{way}-{seed}", partial(trial, way, seed, images, tested))
        for way in ([FLOAT, MIXED] if quick else [FLOAT, *WAYS])
        for seed in (SEEDS[:1] if quick else SEEDS)
    ]
