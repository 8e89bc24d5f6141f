"""The float DeiT-tiny, taught MNIST's digits at 160 x 160 pixels: 100 patches, most of which are empty.

It is taught with half of the patches missing (`papers/patch_dropout.py`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from papers.deit_tiny import ImageScores, deit_tiny
from papers.mnist import read_mnist
from papers.patch_dropout import Teaching, teach
from papers.trials import remembered_tensors
from spokeshave.data import Batches, Data
from spokeshave.data.cifar10 import normalised

SIDE = 160
FOR_CHOICES = 1_000  # of the test images: settings are chosen by the first, the others judge
SHRINKING, MOVING = 0.2, 0.1  # by how much digits are smaller, and elsewhere of half an image, at most
TEACHING = Teaching(32_000, rate=1.2e-2, head="network.classifier", seed=67280421310721)  # the better of two


def deit_tiny_mnist() -> tuple[ImageScores, Data]:
    """The network, taught unless it is there, and MNIST; raises SpokeshaveError where the data is not to be found."""
    data = mnist()

    def make() -> dict[str, Tensor]:
        torch.manual_seed(TEACHING.seed)
        learned = ImageScores(data.classes, SIDE)
        known = deit_tiny(SIDE)[0].state_dict()
        new = {name: own for name, own in learned.state_dict().items() if name.startswith(TEACHING.head)}
        learned.load_state_dict(known | new)
        teach(learned, data, TEACHING)
        return learned.state_dict()

    network = ImageScores(data.classes, SIDE)
    network.load_state_dict(remembered_tensors(f"deit_tiny/mnist-{TEACHING.name}", make))
    return network.eval(), data


def mnist(choosing: bool = False) -> Data:
    """MNIST as bytes `[N, 1, 28, 28]`, enlarged batch by batch; the test images that judge, or choose, are held out."""
    parts = read_mnist()
    held = slice(None, FOR_CHOICES) if choosing else slice(FOR_CHOICES, None)
    judging, wanted = (tensor[held] for tensor in parts["test"])
    training = Batches(*parts["train"], 64, shuffle=True, augment=moved)
    return Data(training, Batches(judging, wanted, 250, augment=enlarged), 10, "mnist")


def enlarged(images: Tensor) -> Tensor:
    """Grey bytes `[N, 1, S, S]` to what the network sees."""
    return F.interpolate(_coloured(images), size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def moved(images: Tensor) -> Tensor:
    """The same, each digit smaller and elsewhere: how training images are seen."""
    count = len(images)
    scale = 1 + SHRINKING * torch.rand(count)
    offset = MOVING * (2 * torch.rand(count, 2, 1) - 1)
    window = torch.cat((torch.diag_embed(scale[:, None].expand(-1, 2)), offset), 2)
    grid = F.affine_grid(window, [count, 3, SIDE, SIDE], align_corners=False)
    return F.grid_sample(_coloured(images), grid, align_corners=False, padding_mode="border")


def _coloured(images: Tensor) -> Tensor:
    return normalised(images.expand(-1, 3, -1, -1))
