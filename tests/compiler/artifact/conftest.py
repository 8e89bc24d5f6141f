"""Small networks as plain C, built by this machine's C compiler."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spokeshave.compiler import generate
from spokeshave.compiler.artifact import write_artifact
from spokeshave.compiler.generated import Generated


class TwoOfEach(nn.Module):
    """Two inputs; outputs in a structure: a computed one twice, one that is an input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor, y: Tensor) -> dict:
        both = self.first(x) + self.second(y).relu()
        return {"sum": both, "others": (x, both, self.second(y))}


def convolutional() -> nn.Module:
    """Strides, groups, pooling, half of the weights zero."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 13, 3, padding=1), nn.BatchNorm2d(13), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(13, 26, 3, stride=2, groups=13), nn.SiLU(), nn.Conv2d(26, 10, 1), nn.Flatten(),
        nn.LazyLinear(7), nn.LayerNorm(7), nn.Softmax(-1),
    ).eval()  # fmt: skip
    network(torch.randn(2, 3, 17, 15))
    for weight in network.parameters():
        if weight.ndim > 1:
            weight.data *= torch.rand_like(weight) < 0.5
    return network


NETWORKS = {
    "convolutional": (convolutional, ((3, 17, 15),)),
    "two of each": (TwoOfEach, ((6,), (5,))),
}


@pytest.fixture(params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, list[Tensor]]:
    """A network and five samples of its inputs."""
    make, shapes = NETWORKS[request.param]
    torch.manual_seed(1)
    return make().eval(), [torch.randn(5, *shape) for shape in shapes]


@pytest.fixture(scope="session")
def generated() -> Generated:
    """The convolutional network as portable C."""
    return generate(convolutional(), torch.randn(1, 3, 17, 15), isa="portable")


@pytest.fixture
def artifact(generated: Generated, tmp_path: Path) -> Path:
    """Its artefact."""
    write_artifact(generated, tmp_path / "artifact")
    return tmp_path / "artifact"
