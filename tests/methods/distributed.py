"""What every process of tests/methods/test_distributed.py runs: `python distributed.py RANK PROCESSES STORE OUTPUT`."""

import os
import sys
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from spokeshave.criteria import Fisher
from spokeshave.data import Batches, Data
from spokeshave.methods import ADMM, DuringTraining, OneShot, Reconstruction, begin, train
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow

SAMPLES, BATCH, EPOCHS = 96, 24, 4


def main() -> None:
    rank, processes, port, output = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    torch.manual_seed(0)
    inputs = torch.randn(SAMPLES, 16)
    labels = inputs[:, :3].argmax(1)
    loader = DataLoader(TensorDataset(inputs, labels), BATCH // processes)
    batches = Batches(inputs, labels, BATCH, shuffle=True)
    own = list(batches.shared(rank, processes))
    runs = {
        "admm": (loader, ADMM(rho=0.3, update_steps=3)),
        "during": (batches, DuringTraining(own, 1, 3, strength=0.01)),
        "taylor": (batches, OneShot(Fisher(), own)),
        "reconstruction": (batches, Reconstruction(own)),
    }
    for name, (data, method) in runs.items():
        save_file(weights(data, method), f"{output}-{name}-{rank}.safetensors")


def weights(data: Iterable[tuple[Tensor, Tensor]], method: Any) -> dict[str, Tensor]:
    """What the network is after training with the method."""
    torch.manual_seed(0)
    layers = OrderedDict(first=nn.Linear(16, 24), relu=nn.ReLU(), head=nn.Linear(24, 3))
    network = nn.Sequential(layers)
    session = begin(method, network, Plan((Rule("first", BlockColumnRow(0.75, (4, 8))),)))
    train(network, Data(data, data, 3, "made up"), EPOCHS, session=session, accelerate=True)
    session.finish()
    return network.state_dict()


if __name__ == "__main__":
    main()
