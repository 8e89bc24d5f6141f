"""The keyword networks GRU-400 and LSTM-500 with trained weights (Zhang et al., arXiv 1711.07128), and clips to hear.

49 frames of 10 cepstra to 12 words. The GRU's state is reset before the candidate's matrix, as TensorFlow does it, so
this is no `nn.GRU`. 300 clips of Speech Commands: of every seed's order one half is to train on, the other the test;
the networks have met most of them when they were trained. Where they are absent, scikit-learn's digits take their
place, row by row, and a smaller network is trained on them first.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from papers.keyword_lstm import ProjectedCell, lstm_of
from papers.pruning import trained
from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder

WORDS = ("_silence_", "_unknown_", "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
BATCH = 25
NAMES = {"GRU": "GRU-400", "LSTM": "LSTM-500"}


class Cell(nn.Module):
    """One step: `(frame [N, F], state [N, H])` to the scores of every word and the next state."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.inputs = nn.Linear(features, 3 * hidden)
        self.gates = nn.Linear(hidden, 2 * hidden, bias=False)
        self.candidate = nn.Linear(hidden, hidden, bias=False)
        self.head = nn.Linear(hidden, classes)

    def forward(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Reset and update gates, the candidate, and the words' scores in the new state."""
        gates, candidate = self.inputs(frame).split((2 * self.hidden, self.hidden), 1)
        reset, update = torch.sigmoid(gates + self.gates(state)).chunk(2, 1)
        candidate = torch.tanh(candidate + self.candidate(reset * state))
        state = update * state + (1 - update) * candidate
        return self.head(state), state


class Listener(nn.Module):
    """A cell, or its deployment, over all frames of a clip: `[N, T, F]` to the scores after the last one."""

    def __init__(self, cell: nn.Module, hidden: int) -> None:
        super().__init__()
        self.cell, self.hidden = cell, hidden
        self.states = nn.Identity()

    def forward(self, clips: Tensor) -> Tensor:
        """Scores `[N, classes]`; the states behind all frames go through `states`, where they can be watched."""
        scores, states = torch.empty(0), [clips.new_zeros(len(clips), self.hidden)]
        for frame in clips.unbind(1):
            scores, state = self.cell(frame.contiguous(), states[-1])
            states.append(state)
        self.states(torch.stack(states[1:], 1))
        return scores


def heard_otherwise(clips: Tensor) -> Tensor:
    """Clips `[N, T, F]` moved by up to 5 frames, mixed in pairs, with noise: what only a teacher can label."""
    count, frames, _ = clips.shape
    places = (torch.arange(frames) + torch.randint(-5, 6, (count, 1))).clamp(0, frames - 1)
    moved = clips[torch.arange(count)[:, None], places]
    share = torch.distributions.Beta(0.3, 0.3).sample((count, 1, 1))
    mixed = share * moved + (1 - share) * moved[torch.randperm(count)]
    return mixed + torch.randn_like(mixed) * mixed.std((0, 1)) * 0.2 * torch.rand(count, 1, 1)


@dataclass(frozen=True)
class Keywords:
    """A trained cell and clips; `about` says which."""

    cell: Cell | ProjectedCell
    clips: Data
    about: str

    @property
    def example(self) -> tuple[Tensor, Tensor]:
        """One frame and a state."""
        clips = self.clips.train
        assert isinstance(clips, Batches)
        return clips.inputs[:1, 0].contiguous(), torch.zeros(1, self.cell.hidden)


def keywords(seed: int, kind: str = "GRU") -> Keywords:
    """GRU-400, or the LSTM-500, and a seed's halves of the clips, or what takes their place."""
    try:
        folder = data_folder("kws_models")
        words = np.load(data_folder("speech_commands_sample") / "speech_commands_300.npz")["word"]
    except SpokeshaveError:
        return _digits(seed, kind)
    clips = torch.from_numpy(np.load(folder / "speech_commands_300_mfcc49x10.npz")["mfcc"]).float()
    labels = torch.tensor([WORDS.index(word) if word in WORDS else 1 for word in words])
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed))
    first, second = order.chunk(2)
    train = Batches(clips[first], labels[first], BATCH, shuffle=True)
    data = Data(train, Batches(clips[second], labels[second], len(second)), len(WORDS), "keywords")
    stored = np.load(folder / f"kws_{kind.lower()}_l.npz")
    cell = lstm_of(stored) if kind == "LSTM" else _pretrained(stored)
    return Keywords(cell, data, f"{NAMES[kind]} on 300 Speech Commands clips")


def _pretrained(stored: np.lib.npyio.NpzFile) -> Cell:
    gates, candidate = (torch.from_numpy(stored[f"{name}.kernel"]).T for name in ("gates", "candidate"))
    hidden = len(candidate)
    features = candidate.shape[1] - hidden
    cell = Cell(features, hidden, len(WORDS))
    biases = [torch.from_numpy(stored[f"{name}.bias"]) for name in ("gates", "candidate", "out")]
    with torch.no_grad():
        cell.inputs.weight.copy_(torch.cat((gates[:, :features], candidate[:, :features])))
        cell.inputs.bias.copy_(torch.cat(biases[:2]))
        cell.gates.weight.copy_(gates[:, features:])
        cell.candidate.weight.copy_(candidate[:, features:])
        cell.head.weight.copy_(torch.from_numpy(stored["out.kernel"]).T)
        cell.head.bias.copy_(biases[2])
    return cell


def _digits(seed: int, kind: str) -> Keywords:
    digits = DATA["digits"]()
    assert isinstance(digits.train, Batches)
    assert isinstance(digits.held_out, Batches)
    train, held_out = (
        Batches(one.inputs[:, 0], one.labels, BATCH, shuffle=one.shuffle)
        for one in (digits.train, digits.held_out)
    )
    data = replace(digits, train=train, held_out=held_out)
    torch.manual_seed(seed)
    cell = ProjectedCell(16, 64, 32, digits.classes) if kind == "LSTM" else Cell(16, 64, digits.classes)
    trained(Listener(cell, cell.hidden), data, 3, 1e-2, seed)
    return Keywords(cell, data, f"{kind} of 64 units on digits row by row")
