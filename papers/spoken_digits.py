"""Spoken digits: 3,000 recordings of six speakers (`fsdd`), as a check of recurrent networks wants them.

A frame every 20 ms: the logarithm of the energy in 39 bands up to 4 kHz, mean 0 and deviation 1 over the training
clips; 40 frames, of which the last ones of a shorter clip are silence. Recordings 0 to 4 of each speaker and digit are
the test, as its authors split them, 5 to 9 are held back for every choice, the others train.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from papers.speech import Speech, in_batches
from spokeshave.data import Batches
from spokeshave.locate import data_folder
from spokeshave.measure.accuracy import evaluate

FRAMES, BANDS, CLASSES = 40, 39, 10
WINDOW, HOP = 256, 160  # samples, of 8,000 a second
FAINT = 1e-6  # energy below which all is silence


def spoken_digits() -> Speech:
    """Clips `[N, 40, 39]` with their digit at every frame; raises SpokeshaveError where the data is absent."""
    archive = np.load(data_folder("fsdd") / "fsdd_mulaw8k.npz")
    compressed = archive["audio"].astype(np.float32)
    wave = np.sign(compressed) * (256 ** (np.abs(compressed) / 127) - 1) / 255
    clips = np.split(wave, np.cumsum(archive["length"])[:-1])
    frames = torch.stack([bands(torch.from_numpy(clip)) for clip in clips])
    labels = torch.from_numpy(archive["label"].astype(np.int64))[:, None].repeat(1, FRAMES)
    index = torch.from_numpy(archive["index"].astype(np.int64))
    training, held_back, test = index >= 10, (index >= 5) & (index < 10), index < 5
    deviation, mean = torch.std_mean(frames[training], dim=(0, 1))
    frames = (frames - mean) / deviation
    sets = [(frames[part], labels[part]) for part in (training, held_back, test)]
    return in_batches(sets, CLASSES, "spoken digits")


def bands(wave: Tensor) -> Tensor:
    """`[40, 39]`: logarithms of energies in bands of equal width, of a clip of any length."""
    whole = WINDOW + HOP * (FRAMES - 1)
    filled = F.pad(wave[:whole], (0, max(0, whole - len(wave))))
    spectrum = torch.stft(
        filled, WINDOW, HOP, window=torch.hann_window(WINDOW), center=False, return_complex=True
    )
    return F.adaptive_avg_pool1d(spectrum.abs().square().T, BANDS).clamp_min(FAINT).log()


def clip_accuracy(network: object, batches: Batches) -> float:
    """Share of the clips whose digit a network, or a deployment, names at the last frame."""
    assert callable(network)
    return evaluate(
        lambda inputs: network(inputs)[:, -1], ((inputs, labels[:, -1]) for inputs, labels in batches)
    ).top1
