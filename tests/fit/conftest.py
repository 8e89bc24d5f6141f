"""A job so small that all of it takes seconds: three kinds of stripes, a network of three convolutions."""

from pathlib import Path

import pytest
import yaml

from spokeshave.fit import Recipe

PARTS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from spokeshave.networks import VisionTransformer


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=0.5), nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1, stride=2), nn.BatchNorm2d(16, momentum=0.5), nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(16, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    )


def transformer():
    return VisionTransformer(1, 8, 2, width=16, heads=2, blocks=3, classes=3)


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    wave = torch.sin(torch.arange(8.0))
    waves = torch.stack([wave[:, None].expand(8, 8), wave.expand(8, 8), torch.zeros(8, 8)])
    return waves[labels][:, None] + 0.3 * torch.randn(count, 1, 8, 8, generator=generator), labels


def loaders():
    train = DataLoader(TensorDataset(*images(192, 1)), batch_size=16, shuffle=True)
    held_out = DataLoader(TensorDataset(*images(48, 2)), batch_size=24)
    return train, held_out


def two_classes():
    batches = [(inputs, labels.clamp(max=1)) for inputs, labels in loaders()[1]]
    return batches, batches


def large_images():
    batches = [(torch.zeros(4, 3, 16, 16), torch.tensor([0, 1, 2, 2]))]
    return batches, batches


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(64, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x):
        x = self.second(self.first(x.flatten(1)))
        if x.sum() > 0:
            x = -x
        return self.third(x)
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A recipe's file, with the tiny network and its data beside it in `parts.py`."""
    return write_job(tmp_path)


@pytest.fixture(scope="module")
def shared_recipe(tmp_path_factory) -> Path:
    """The same for all tests of a file."""
    return write_job(tmp_path_factory.mktemp("job"))


def write_job(folder: Path) -> Path:
    """Write `parts.py` and `recipe.yaml` into a folder; returns the recipe's path."""
    parts = folder / "parts.py"
    parts.write_text(PARTS)
    document = {
        "network": f"{parts}:network",
        "data": f"{parts}:loaders",
        "compression": 4,
        "epochs": {"dense": 2, "method": 2, "fine_tune": 2},
        "learning_rates": {"dense": 0.05, "method": 0.02, "fine_tune": 0.02},
        "rounds": 3,
        "peers": ["eager"],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="module")
def token_job(shared_recipe) -> Recipe:
    """The same data by a transformer that learns which patches to leave out."""
    changes = {
        "network": f"{shared_recipe.with_name('parts.py')}:transformer",
        "compression": None,
        "tokens": [
            {"before": 1, "keep": 0.7, "rest": "package"},
            {"before": 2, "keep": 0.4, "scorer": {"name": "learned", "importance": False}, "rest": "package"},
        ],
        "optimizer": "adamw",
        "learning_rates": {"dense": 0.01, "method": 0.01, "fine_tune": 0.005},
    }
    return Recipe.parse(yaml.safe_load(shared_recipe.read_text()) | changes)
