"""Teaching leaves patches out in training alone."""

import pytest
import torch

pytest.importorskip("transformers")

from papers.deit_tiny import ImageScores
from papers.deit_tiny_mnist import SIDE, moved
from papers.patch_dropout import Teaching, teach

from spokeshave.data import Batches, Data


def test_teaching_changes_weights_and_leaves_no_reducer():
    torch.manual_seed(0)
    network = ImageScores(10, SIDE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    digits = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    batches = Batches(digits, torch.tensor([0, 1, 2, 3]), 2, shuffle=True, augment=moved)
    seen = []
    network.network.vit.layers[1].register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[1]))
    teach(network, Data(batches, batches, 10, "digits"), Teaching(4, keep=0.25))
    assert set(seen) == {1 + 25}
    after = network.state_dict()
    assert after.keys() == before.keys()
    matrices = [name for name, tensor in before.items() if tensor.dim() > 1 and tensor.any()]
    assert matrices
    assert not any(torch.equal(after[name], before[name]) for name in matrices)
