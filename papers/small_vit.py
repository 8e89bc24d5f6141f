"""A real small vision transformer, pretrained on MNIST: 16 patches and a class token, width 64, 6 blocks of 8 heads."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers.mnist import read_mnist
from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder
from spokeshave.methods import train

WIDTH, HEADS, BLOCKS, PATCHES = 64, 8, 6, 4  # patches to a side


class Block(nn.Module):
    """Attention and two linear layers, each behind a norm and beside a shortcut: `[N, T, WIDTH]`."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Add what attention and the linear layers find."""
        heads = self.qkv(self.ln1(tokens)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        # The published weights were trained with 1/8, the root of the width, not of a head's.
        mixed = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], scale=WIDTH**-0.5)
        tokens = tokens + self.out(mixed.transpose(1, 2).flatten(2))
        return tokens + self.fc2(F.gelu(self.fc1(self.ln2(tokens))))


class SmallViT(nn.Module):
    """Grey images `[N, 1, S, S]` to scores `[N, 10]`."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.patch = nn.Linear((side // PATCHES) ** 2, WIDTH)
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos = nn.Parameter(0.02 * torch.randn(1, PATCHES**2 + 1, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.head = nn.ModuleDict({"fc0": nn.Linear(WIDTH, 2 * WIDTH), "fc1": nn.Linear(2 * WIDTH, 10)})

    def forward(self, images: Tensor) -> Tensor:
        """Score every class."""
        side = images.shape[2] // PATCHES
        pieces = images.unflatten(3, (PATCHES, side)).unflatten(2, (PATCHES, side)).squeeze(1)
        tokens = self.patch(pieces.transpose(2, 3).flatten(3).flatten(1, 2))
        tokens = torch.cat((self.cls.expand(len(tokens), -1, -1), tokens), 1) + self.pos
        return self.head["fc1"](F.gelu(self.head["fc0"](self.blocks(tokens)[:, 0])))


def network_and_data() -> tuple[SmallViT, Data, str]:
    """The pretrained network and MNIST; where they are absent, one trained on the digits."""
    try:
        data, path = mnist(), data_folder("vit4mnist") / "vit4mnist.npz"
    except SpokeshaveError as reason:
        data, network = DATA["digits"](), SmallViT(16)
        train(network, data, 8, optimizer=torch.optim.AdamW(network.parameters(), 2e-3))
        return network.eval(), data, f"digits in MNIST's place ({reason})"
    network = SmallViT(28)
    state = {name: torch.from_numpy(values) for name, values in np.load(path).items()}
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    network.load_state_dict({name: value.reshape(shapes[name]) for name, value in state.items()})
    return network.eval(), data, "a pretrained transformer of 215 thousand weights on MNIST"


def mnist() -> Data:
    """MNIST, 3,000 of its test images held out."""
    parts = read_mnist()
    images = {part: (pixels.float() / 255 - 0.1307) / 0.3081 for part, (pixels, _) in parts.items()}
    train = Batches(images["train"], parts["train"][1], 64, shuffle=True)
    return Data(
        train,
        replace(train, inputs=images["test"], labels=parts["test"][1], size=500, shuffle=False),
        10,
        "mnist",
    )
