import pytest
import torch
from torch import nn

from spokeshave.errors import SpokeshaveError
from spokeshave.measure import Accuracy, evaluate

SCORES = torch.tensor([[9.0, 1, 0], [0, 9, 1], [0, 1, 9], [9, 0, 1]])


def test_counts_are_those_counted_by_hand():
    batches = [(SCORES[:2], torch.tensor([0, 0])), (SCORES[2:], torch.tensor([2, 0]))]
    done = []
    assert evaluate(lambda scores: scores, batches, progress=done.append) == Accuracy(correct=3, total=4)
    assert evaluate(lambda scores: scores, batches).top1 == 0.75
    assert done == [2, 4]


class RunningMean(nn.Module):
    """Its outputs in training mode hang on the batch, and running it there changes its state."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.frozen = nn.Dropout().eval()

    def forward(self, scores):
        return {"logits": self.norm(scores)}


def test_a_module_is_evaluated_in_evaluation_mode_and_left_as_it_was():
    network = RunningMean()
    assert evaluate(network, [(SCORES, torch.tensor([0, 1, 2, 0]))]).top1 == 1.0
    assert (network.training, network.norm.training, network.frozen.training) == (True, True, False)
    assert int(network.norm.num_batches_tracked) == 0


def test_a_network_of_two_inputs_takes_a_tuple():
    batches = [((SCORES, SCORES.flip(1)), torch.tensor([2, 1, 0, 2]))]
    assert evaluate(lambda first, second: second + 0 * first, batches) == Accuracy(4, 4)


@pytest.mark.parametrize(
    ("batches", "sentence"),
    [
        ([], "no samples"),
        ([SCORES], "batch 0 of the data is not a pair"),
        ([(SCORES, [0, 1, 2, 0])], "labels of batch 0 must be one integer a sample, not list"),
        ([(SCORES, SCORES)], "labels of batch 0 must be one integer a sample"),
        ([(SCORES, torch.tensor([0, 1]))], "batch 0 has 2 labels, but the network gave 4 outputs"),
        (
            [(SCORES, torch.tensor([0, 1, 2, 0])), (SCORES, torch.tensor([0, 1, 3, 0]))],
            "batch 1 run from 0 to 3, but the network has 3 classes",
        ),
        ([(SCORES, torch.tensor([0, 1, -1, 0]))], "run from -1 to 1"),
        ([(SCORES[0], torch.tensor([0]))], r"must be \(samples, classes\), not \(3,\)"),
        ([((SCORES, SCORES), torch.tensor([0]))], r"must be \(samples, classes\), not a tuple"),
    ],
)
def test_batches_of_another_kind_are_told_in_one_sentence(batches, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        evaluate(lambda *inputs: inputs[0] if len(inputs) == 1 else inputs, batches)
