"""Accuracy of the energy study's networks, compressed: a convolutional one on images, a recurrent one on speech.

The options are those whose energy is modelled, in the same structures; weights of eight bits are judged in float32, as
on a phone, and in the whole numbers of the FPGA.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from papers.energy_models import (
    COMPRESSED,
    FPGA,
    GRU_SPARSITY,
    HIDDEN,
    LENET_SPARSITY,
    RESNET_SPARSITY,
    block,
    recognizer,
)
from papers.forms_trials import RAMPED, lenet, lenet_data
from papers.pruning import QUICK, Loss, Training, by_admm, plan_of, trained
from papers.speech import frame_accuracy, frame_loss, speech
from spokeshave.data import DATA, Batches, Data
from spokeshave.devices import load_device
from spokeshave.measure import evaluate
from spokeshave.methods import (
    MaskedFineTuning,
    OneShot,
    Reconstruction,
    Teacher,
    begin,
    refresh_batch_norm,
    train,
)
from spokeshave.networks import cifar_resnet
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint

TRAINING = Training(dense=4, admm=6, masked=3)
LENET_TRAINING = Training(dense=2, admm=2, masked=2, rate=2e-3, pruning_rate=1e-3, method=RAMPED)
EIGHT = Plan((Rule("*", FixedPoint(8)),))
ON_BOARD = f"{COMPRESSED}, on the {FPGA}"


def convolutional_trial(seed: int, quick: bool) -> dict[str, Any]:
    """ResNet-20, pretrained: pruned layer by layer, then taught by its dense self for a few short passes."""
    torch.manual_seed(seed)
    samples, passes, tested = (640, 1, 250) if quick else (6_400, 1, 2_000)
    data = DATA["cifar10"]().batched(128).shortened(samples)
    assert isinstance(data.held_out, Batches)
    held_out = Batches(data.held_out.inputs[:tested], data.held_out.labels[:tested], 250)
    dense = cifar_resnet(20, "pretrained").eval()
    names = [f"{name}.weight" for name, module in dense.named_modules() if _inner(name, module)]
    plan = plan_of(dense, names, lambda shape: block(shape, RESNET_SPARSITY))
    pruned, teacher = copy.deepcopy(dense), Teacher(copy.deepcopy(dense))
    shown = [batch for _, batch in zip(range(4), data.train, strict=False)]
    begin(Reconstruction(shown, passes=2), pruned, plan).finish()
    session = begin(MaskedFineTuning(), pruned, plan)
    train(pruned, data, passes, learning_rate=1e-2, session=session, teacher=teacher, seed=seed)
    session.finish()
    refresh_batch_norm(pruned, data.train, passes=40)
    found = judged(dense, pruned, held_out.inputs[:1], shown, lambda one: evaluate(one, held_out).top1)
    told = f"pruned by {RESNET_SPARSITY:.0%}, {passes} passes of {samples:,} images after it"
    return found | {"about": f"CIFAR-10, {tested:,} test images; {told}"}


def _inner(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.in_channels > 3


def recurrent_trial(seed: int, quick: bool) -> dict[str, Any]:
    """A GRU that names the phones of read speech, pruned by ADMM; dense it is the better of short and long training."""
    torch.manual_seed(seed)
    training, sounds = (QUICK if quick else TRAINING), speech()
    data = sounds.data().shortened(64) if quick else sounds.data()
    fresh = recognizer()
    names = [name for name, _ in fresh.named_parameters() if name.startswith("layers.weight")]
    plan = plan_of(fresh, names, lambda shape: block(shape, GRU_SPARSITY))
    dense, pruned, longer = trained_pair(fresh, data, plan, training, seed, frame_loss)
    best = max((dense, longer), key=lambda network: frame_accuracy(network.eval(), sounds.held_back))
    shown = [batch for _, batch in zip(range(4), data.train, strict=False)]
    found = judged(best, pruned, sounds.example, shown, lambda one: frame_accuracy(one, sounds.test))
    told = f"{HIDDEN} units, pruned by {GRU_SPARSITY:.0%}, frames named right"
    return found | {"about": f"{sounds.about}; {told}"}


def lenet_trial(seed: int, quick: bool) -> dict[str, Any]:
    """LeNet-5 on MNIST, its second convolution and first linear layer pruned by ADMM; dense it is trained as long."""
    torch.manual_seed(seed)
    training, samples = (QUICK, 640) if quick else (LENET_TRAINING, 12_800)
    data, fresh = lenet_data().shortened(samples), lenet()
    assert isinstance(data.held_out, Batches)
    plan = plan_of(fresh, ["3.weight", "7.weight"], lambda shape: block(shape, LENET_SPARSITY))
    _, pruned, longer = trained_pair(fresh, data, plan, training, seed, cross_entropy)
    shown = [batch for _, batch in zip(range(4), data.train, strict=False)]
    example, held_out = data.held_out.inputs[:1], data.held_out
    found = judged(longer, pruned, example, shown, lambda one: evaluate(one, held_out).top1)
    told = f"pruned by {LENET_SPARSITY:.0%}, passes of {samples:,} images"
    return found | {"about": f"MNIST, {len(held_out.labels):,} test images; {told}"}


def trained_pair(
    dense: nn.Module, data: Data, plan: Plan, training: Training, seed: int, loss: Loss
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """A network trained, then pruned by ADMM, and then trained as long without pruning."""
    trained(dense, data, training.dense, training.rate, seed, loss=loss)
    pruned, longer = copy.deepcopy(dense), copy.deepcopy(dense)
    by_admm(pruned, data, [plan], training, seed, loss)
    trained(longer, data, training.pruning, training.pruning_rate, seed, loss=loss)
    return dense, pruned, longer


def judged(
    dense: nn.Module, pruned: nn.Module, example: Tensor, shown: list[Any], judge: Callable[[Any], float]
) -> dict[str, float]:
    """Accuracy by option; the last in the whole numbers of the FPGA."""
    networks = {"dense": dense, "pruned": pruned, "8 bits": rounded(dense), COMPRESSED: rounded(pruned)}
    found = {option: judge(network.eval()) for option, network in networks.items()}
    board = load_device(FPGA).deploy(networks[COMPRESSED], example, EIGHT, shown)
    return found | {ON_BOARD: judge(board)}


def rounded(network: nn.Module) -> nn.Module:
    """The network with weights of eight bits; zeros stay."""
    found = copy.deepcopy(network)
    begin(OneShot(), found, EIGHT).finish()
    return found
