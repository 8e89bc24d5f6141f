"""A small network and data, and a deployment of it, for the verbs."""

import pytest
import torch

from spokeshave.cli.main import main

PARTS = """
import torch
from torch import nn


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    )


def linear():
    return nn.Linear(8, 3)


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        x = self.second(self.first(x.flatten(1)))
        if x.sum() > 0:
            x = -x
        return self.third(x)


def batches(classes, *shape):
    generator = torch.Generator().manual_seed(0)
    loader = [(torch.randn(6, *shape, generator=generator), torch.arange(6) % classes)]
    return loader, loader


def data(): return batches(3, 1, 8, 8)
def two_classes(): return batches(2, 1, 8, 8)
def four_classes(): return batches(4, 1, 8, 8)
def large_images(): return batches(3, 3, 16, 16)
def empty(): return [], []
def pictures_alone(): return [torch.zeros(4, 1, 8, 8)], [torch.zeros(4, 1, 8, 8)]
def strange_labels(): return [(torch.zeros(4, 1, 8, 8), torch.full((4,), -1))] * 2, data()[1]
def real_labels(): return [(torch.zeros(4, 1, 8, 8), torch.zeros(4))] * 2, data()[1]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with `parts.py` in it."""
    (tmp_path / "parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.fixture
def spokeshave(capsys):
    """Run a verb in this process: exit code, stdout, stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


@pytest.fixture
def deployed(folder, spokeshave):
    """A folder with a compiled network."""
    code, _, err = spokeshave("compile", "parts.py:network", "--shape", "1x8x8", "--output", "deployed")
    assert code == 0, err
    return folder / "deployed"
