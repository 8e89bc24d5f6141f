"""Phone-labelled speech and recurrent networks that name the phone of every frame.

593 read sentences of one speaker (`arctic_phones`), a frame every 20 ms: 13 cepstra with their first and second
differences, mean 0 and deviation 1 over the training sentences. Sentences 0 to 399 train, 400 to 499 are held back for
every choice, the others are the test. Where the data is absent, scikit-learn's digits take its place: an image is a
sequence of 16 rows, and its digit is to be named at every row.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spokeshave.data import DATA, Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder
from spokeshave.measure.accuracy import evaluate

STRIDE = 2  # of the frames that come every 10 ms
STEPS = 25  # frames of a chunk: half a second
TRAIN, HELD_BACK = 400, 100  # sentences
BATCH = 32


@dataclass(frozen=True)
class Speech:
    """Chunks `[N, T, features]` with a label for every frame `[N, T]`; `about` says what they are."""

    training: Batches
    held_back: Batches
    test: Batches
    classes: int
    about: str

    @property
    def example(self) -> Tensor:
        """One chunk, `[1, T, features]`."""
        return self.test.inputs[:1]

    def data(self) -> Data:
        """What the training loop takes."""
        return Data(self.training, self.held_back, self.classes, self.about)


class Recognizer(nn.Module):
    """Recurrent layers and a score for every class at every step: `[N, T, features]` to `[N, T, classes]`."""

    def __init__(self, kind: str, features: int, hidden: int, layers: int, classes: int) -> None:
        super().__init__()
        self.layers = {"gru": nn.GRU, "lstm": nn.LSTM}[kind](features, hidden, layers, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, frames: Tensor) -> Tensor:
        """Score every class at every step."""
        scores: Tensor = self.head(self.layers(frames)[0])
        return scores


def speech() -> Speech:
    """The phones, or the digits where that data is absent."""
    try:
        return _phones()
    except SpokeshaveError:
        return _digits()


def frame_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy over all frames."""
    return F.cross_entropy(scores.flatten(0, 1), labels.flatten())


def frame_accuracy(network: object, batches: Batches) -> float:
    """Share of the frames whose class a network, or a deployment, names."""
    assert callable(network)
    frames = ((inputs, labels.flatten()) for inputs, labels in batches)
    return evaluate(lambda inputs: network(inputs).flatten(0, 1), frames).top1


def _phones() -> Speech:
    archive = np.load(data_folder("arctic_phones") / "arctic_phones_mfcc.npz")
    borders = archive["offset"][1:-1]
    cepstra = np.split(archive["mfcc"].astype(np.float32), borders)
    phones = np.split(archive["phone"].astype(np.int64), borders)
    features = [_with_differences(torch.from_numpy(sentence))[::STRIDE] for sentence in cepstra]
    labels = [torch.from_numpy(sentence)[::STRIDE] for sentence in phones]
    deviation, mean = torch.std_mean(torch.cat(features[:TRAIN]), dim=0)
    features = [(sentence - mean) / deviation for sentence in features]
    first, second = slice(None, TRAIN), slice(TRAIN, TRAIN + HELD_BACK)
    sets = [_chunks(features[part], labels[part]) for part in (first, second, slice(second.stop, None))]
    return in_batches(sets, len(archive["phones"]), "phones of read sentences")


def _digits() -> Speech:
    digits = DATA["digits"]()
    assert isinstance(digits.train, Batches)
    assert isinstance(digits.held_out, Batches)
    half = len(digits.held_out.labels) // 2
    images = (digits.train.inputs, digits.held_out.inputs[:half], digits.held_out.inputs[half:])
    labels = (digits.train.labels, digits.held_out.labels[:half], digits.held_out.labels[half:])
    sets = [
        (rows[:, 0], digit[:, None].repeat(1, rows.shape[2]))
        for rows, digit in zip(images, labels, strict=True)
    ]
    return in_batches(sets, digits.classes, "digits row by row, in the place of phones")


def in_batches(sets: list[tuple[Tensor, Tensor]], classes: int, about: str) -> Speech:
    """Inputs and labels of training, of what is held back and of the test."""
    held_back, test = (Batches(*one, BATCH) for one in sets[1:])
    return Speech(Batches(*sets[0], BATCH, shuffle=True), held_back, test, classes, about)


def _with_differences(cepstra: Tensor) -> Tensor:
    """`[T, 13]` to `[T, 39]`: first and second differences over two frames on either side."""
    first = _difference(cepstra)
    return torch.cat((cepstra, first, _difference(first)), dim=1)


def _difference(values: Tensor) -> Tensor:
    padded = torch.cat((values[:1], values[:1], values, values[-1:], values[-1:]))
    return (padded[3:-1] - padded[1:-3] + 2 * (padded[4:] - padded[:-4])) / 10


def _chunks(features: list[Tensor], labels: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Sentences end to end, cut into chunks; the last frames that fill none are left out."""
    count = sum(map(len, labels)) // STEPS * STEPS
    frames, phones = torch.cat(features)[:count], torch.cat(labels)[:count]
    return frames.view(-1, STEPS, frames.shape[1]).contiguous(), phones.view(-1, STEPS)
