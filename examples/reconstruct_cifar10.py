"""Six times fewer weights in the pretrained ResNet-56 without any training: `python examples/reconstruct_cifar10.py`.

Needs the folders `cifar10` and `cifar10_resnets` in $SPOKESHAVE_DATA or in `shared/data` beside the checkout.
"""

import torch
from torch import nn

from spokeshave.data import Data, cifar10
from spokeshave.fit.builtin import builtin_plan
from spokeshave.methods import OneShot, Reconstruction, begin, refresh_batch_norm
from spokeshave.methods.session import Session
from spokeshave.networks import cifar_resnet


def accuracy(network: nn.Module, data: Data) -> float:
    """Per cent of the held-out images that the network gets right."""
    network.eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        batches = [(network(images).argmax(1) == labels).float().mean() for images, labels in data.held_out]
    return 100 * float(torch.stack(batches).mean())


data, plan = cifar10(), builtin_plan("cifar10_resnet56")
for method in (OneShot(), Reconstruction(data.train)):
    torch.manual_seed(0)
    network = cifar_resnet(56, "pretrained")
    session: Session = begin(method, network, plan)
    session.finish()
    refresh_batch_norm(network, data.train, passes=8)
    print(f"{type(method).__name__}: {accuracy(network, data):.2f} %")
