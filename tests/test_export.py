"""Exporting: one sample, evaluation mode, and every failure as one sentence with its place."""

import inspect

import pytest
import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.linear(x).sum() > 0:  # the line that the error names
            return x
        return -x


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_one_sample_with_shared_weights_and_training_flags_kept() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout()).train()
    network[1].eval()
    program = export_network(network, torch.zeros(5, 3, 8, 8))
    placeholder = next(node for node in program.graph.nodes if node.name == "input")
    assert tuple(placeholder.meta["val"].shape) == (1, 3, 8, 8)
    assert program.state_dict["0.weight"].data_ptr() == network[0].weight.data_ptr()
    assert [module.training for module in network] == [True, False, True]
    assert network.training


def test_several_inputs() -> None:
    program = export_network(TwoInputs(), (torch.ones(3, 2), torch.ones(3, 2)))
    assert torch.equal(program.module()(torch.ones(1, 2), torch.ones(1, 2)), torch.full((1, 2), 2.0))


def test_a_failure_names_layer_file_and_line() -> None:
    lines, first = inspect.getsourcelines(Branching)
    line = first + next(i for i, text in enumerate(lines) if "the line that" in text)
    network = nn.Sequential(nn.Sequential(Branching()))
    with pytest.raises(
        SpokeshaveError, match=rf"depends on the values.*layer '0.0'.*{__file__}:{line}"
    ) as caught:
        export_network(network, torch.zeros(2, 4))
    assert "\n" not in str(caught.value)
    assert network.training


def test_a_failure_inside_torch_names_the_layer() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 2))
    with pytest.raises(SpokeshaveError, match="in layer '1'"):
        export_network(network, torch.zeros(1, 3))


def test_exported_programs(tmp_path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()
    free = torch.export.export(
        network, (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(free, tmp_path / "free.pt2")
    program = export_network(torch.export.load(tmp_path / "free.pt2"), torch.zeros(7, 3))
    assert [tuple(n.meta["val"].shape) for n in program.graph.nodes if n.op == "call_function"] == [
        (1, 4)
    ] * 2
    assert "0.weight" in program.state_dict
    single = torch.export.export(network, (torch.zeros(1, 3),))
    assert export_network(single, torch.zeros(7, 3)) is single
    with pytest.raises(SpokeshaveError, match="dynamic batch"):
        export_network(torch.export.export(network, (torch.zeros(4, 3),)), torch.zeros(4, 3))


@pytest.mark.parametrize("example", [torch.tensor(1.0), torch.zeros(0, 3), ("text",)])
def test_examples_that_are_no_batches(example) -> None:
    with pytest.raises(SpokeshaveError, match="input 0 of the example"):
        export_network(nn.Linear(3, 4), example)
