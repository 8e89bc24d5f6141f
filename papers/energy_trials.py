"""Accuracy under the structures of the energy study: a convolutional network on images, a recurrent one on speech."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from papers.energy_models import block
from papers.pruning import QUICK, Training, by_admm, plan_of, trained
from papers.speech import Recognizer, frame_accuracy, frame_loss, speech
from spokeshave.data import DATA, Batches
from spokeshave.measure import evaluate
from spokeshave.methods import MaskedFineTuning, OneShot, Reconstruction, begin, refresh_batch_norm, train
from spokeshave.networks import cifar_resnet
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import FixedPoint

CONVOLUTIONS, RECURRENT = 0.5, 0.9  # sparsity, as in the modelled costs
HIDDEN = 128
TRAINING = Training(dense=4, admm=2, masked=2)
EIGHT = Plan((Rule("*", FixedPoint(8)),))


def convolutional_trial(seed: int, quick: bool) -> dict[str, Any]:
    """ResNet-20, pretrained: pruned layer by layer, then retrained for one short pass."""
    torch.manual_seed(seed)
    samples, tested = (640, 250) if quick else (6_400, 2_000)
    data = DATA["cifar10"]().batched(128).shortened(samples)
    assert isinstance(data.held_out, Batches)
    held_out = Batches(data.held_out.inputs[:tested], data.held_out.labels[:tested], 250)
    dense = cifar_resnet(20, "pretrained").eval()
    names = [f"{name}.weight" for name, module in dense.named_modules() if _inner(name, module)]
    plan = plan_of(dense, names, lambda shape: block(shape, CONVOLUTIONS))
    pruned = copy.deepcopy(dense)
    shown = [batch for _, batch in zip(range(2), data.train, strict=False)]
    begin(Reconstruction(shown, passes=2), pruned, plan).finish()
    session = begin(MaskedFineTuning(), pruned, plan)
    train(pruned, data, 1, learning_rate=5e-3, session=session, seed=seed, loss=F.cross_entropy)
    session.finish()
    refresh_batch_norm(pruned, shown)
    networks = {"dense": dense, "pruned": pruned, "8 bits": rounded(dense), "pruned, 8 bits": rounded(pruned)}
    found = {option: evaluate(network.eval(), held_out).top1 for option, network in networks.items()}
    return found | {"about": f"CIFAR-10, {tested} test images; one pass of {samples} images after pruning 2x"}


def _inner(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.in_channels > 3


def recurrent_trial(seed: int, quick: bool) -> dict[str, Any]:
    """A GRU that names the phones of read speech, pruned 10x by ADMM."""
    torch.manual_seed(seed)
    training, sounds = (QUICK if quick else TRAINING), speech()
    data = sounds.data().shortened(64) if quick else sounds.data()
    dense = Recognizer("gru", sounds.training.inputs.shape[2], HIDDEN, 1, sounds.classes)
    trained(dense, data, training.dense, training.rate, seed, loss=frame_loss)
    names = [name for name, _ in dense.named_parameters() if name.startswith("layers.weight")]
    plan = plan_of(dense, names, lambda shape: block(shape, RECURRENT))
    pruned = copy.deepcopy(dense)
    by_admm(pruned, data, [plan], training, seed, frame_loss)
    trained(dense, data, training.pruning, training.pruning_rate, seed, loss=frame_loss)
    networks = {"dense": dense, "pruned": pruned, "8 bits": rounded(dense), "pruned, 8 bits": rounded(pruned)}
    found = {option: frame_accuracy(network, sounds.test) for option, network in networks.items()}
    return found | {"about": f"{sounds.about}; {HIDDEN} units, pruned 10x, frames named right"}


def rounded(network: nn.Module) -> nn.Module:
    """The network with weights of eight bits; zeros stay."""
    found = copy.deepcopy(network)
    begin(OneShot(), found, EIGHT).finish()
    return found
