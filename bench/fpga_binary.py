"""A binary network for the binary lanes of the generated engine, trained on the built-in digits."""

import torch
from torch import nn

from spokeshave.data import Data
from spokeshave.methods import RandomizedBinary, begin, train
from spokeshave.networks.binary import binary_digits_network
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.quantizers import Binary

EPOCHS = 10
PLAN = Plan((Rule("8.weight", None), Rule("*.weight", Binary())))  # the last layer gives scores, not signs


def trained(data: Data) -> nn.Sequential:
    """The network of signs by straight-through training."""
    torch.manual_seed(0)
    network = binary_digits_network()
    session = begin(RandomizedBinary(), network, PLAN)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    train(network, data, EPOCHS, optimizer=optimizer, session=session)
    session.finish()
    return network.eval()
