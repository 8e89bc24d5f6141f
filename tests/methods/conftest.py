from collections import OrderedDict

import pytest
import torch
from torch import nn

from spokeshave.data import digits
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data():
    return digits(batch_size=128)


def make_network(seed=0):
    torch.manual_seed(seed)
    layers = {
        "flatten": nn.Flatten(),
        "first": nn.Linear(256, 64),
        "relu": nn.ReLU(),
        "second": nn.Linear(64, 64),
        "relu2": nn.ReLU(),
        "head": nn.Linear(64, 10),
    }
    return nn.Sequential(OrderedDict(layers))


@pytest.fixture
def network():
    return make_network()


@pytest.fixture(scope="session")
def make():
    return make_network


@pytest.fixture(scope="session")
def plan():
    return Plan((Rule("head", None), Rule("*", BlockColumnRow(0.9, block=(8, 32)))))


@pytest.fixture(scope="session")
def accuracy(data):
    def of(network):
        network.eval()
        with torch.inference_mode():
            right = sum(int((network(x).argmax(1) == y).sum()) for x, y in data.held_out)
        return right / len(data.held_out.labels)

    return of
