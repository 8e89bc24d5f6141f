"""The keyword transformer KWT-1 with its trained weights (Berg et al., arXiv 2104.00769): a DeiT that hears.

98 frames of 40 cepstra and a class token, 12 blocks of width 64 with their norms behind, to 12 words. 300 clips of
Speech Commands: of every seed's order one half is to be fitted to, the other the test. Where they are absent, a smaller
one is trained on scikit-learn's digits, row by row.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers.keywords import WORDS
from papers.pruning import trained
from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder

BATCH, EPSILON = 25, 1e-6


class Block(nn.Module):
    """Attention of one head, then a perceptron, each added to its input and normalised: `[N, T, W]` to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.o = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.ln1, self.ln2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        """The block's tokens."""
        q, k, v = (layer(tokens)[:, None] for layer in (self.q, self.k, self.v))
        tokens = self.ln1(tokens + self.o(F.scaled_dot_product_attention(q, k, v)[:, 0]))
        return self.ln2(tokens + self.fc2(F.gelu(self.fc1(tokens), approximate="tanh")))


class KeywordTransformer(nn.Module):
    """`[N, T, features]` to the scores of every word."""

    def __init__(self, features: int, steps: int, width: int, blocks: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.cls, self.pos = (nn.Parameter(torch.zeros(1, size, width)) for size in (1, steps + 1))
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.head = nn.Linear(width, classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Scores `[N, classes]`, from the class token."""
        tokens = torch.cat((self.cls.expand(len(frames), -1, -1), self.embed(frames)), 1) + self.pos
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0])


@dataclass(frozen=True)
class HeardWords:
    """A trained transformer and clips; `about` says which."""

    network: KeywordTransformer
    clips: Data
    about: str


def heard_words(seed: int) -> HeardWords:
    """KWT-1 and a seed's halves of the clips, or what takes their place."""
    try:
        weights = dict(np.load(data_folder("kws_models") / "kwt1.npz"))
        stored = np.load(data_folder("speech_commands_sample") / "speech_commands_300.npz")
    except SpokeshaveError:
        return digit_rows(seed)
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    front = {name: tensors.pop(name) for name in list(tensors) if name.startswith("front.")}
    network = KeywordTransformer(40, 98, 64, 12, len(WORDS))
    network.load_state_dict(tensors)
    frames = _cepstra(_wave(stored["audio"]), front)
    labels = torch.tensor([WORDS.index(word) if word in WORDS else 1 for word in stored["word"]])
    first, second = torch.randperm(len(frames), generator=torch.Generator().manual_seed(seed)).chunk(2)
    train = Batches(frames[first], labels[first], BATCH, shuffle=True)
    data = Data(train, Batches(frames[second], labels[second], BATCH), len(WORDS), "keywords")
    return HeardWords(network.eval(), data, "KWT-1 on 300 Speech Commands clips")


def _wave(companded: np.ndarray) -> Tensor:
    """16,000 samples a clip from their mu-law bytes."""
    levels = companded.astype(np.float32)
    return torch.from_numpy(np.sign(levels) * (256 ** (np.abs(levels) / 127) - 1) / 255)


def _cepstra(waves: Tensor, front: dict[str, Tensor]) -> Tensor:
    """`[N, 98, 40]`, by the constants of KWT-1's own front end."""
    pieces = waves.view(len(waves), -1, 160)[:, front["front.gather"].long()].flatten(2)
    windowed = pieces * front["front.window"]
    real, imaginary = (windowed @ front[f"front.dft_{part}"].T for part in "ab")
    energies = (real**2 + imaginary**2).sqrt() @ front["front.mel"].T
    cepstra = energies.clamp_min(1e-12).log() @ front["front.dct"].T
    return ((cepstra - front["front.shift"]) * front["front.scale"]).contiguous()


def digit_rows(seed: int) -> HeardWords:
    """A small transformer that reads scikit-learn's digits row by row, trained in a few seconds."""
    digits = DATA["digits"]()
    assert isinstance(digits.train, Batches)
    assert isinstance(digits.held_out, Batches)
    rows = [replace(one, inputs=one.inputs[:, 0], augment=None) for one in (digits.train, digits.held_out)]
    data = replace(digits, train=rows[0], held_out=rows[1])
    torch.manual_seed(seed)
    network = KeywordTransformer(16, 16, 32, 2, digits.classes)
    trained(network, data, 3, 1e-2, seed)
    return HeardWords(network.eval(), data, "a transformer of 2 blocks on digits row by row")
