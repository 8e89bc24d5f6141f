"""The work of networks, counted against PyTorch's own counter of floating-point operations."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.workload import Layer, trace


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(12, 36)
        self.table = nn.Parameter(torch.randn(12, 5))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.mix(x).reshape(len(x), -1, 3, 3, 4).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2) @ self.table @ torch.ones(5, 2)


NETWORKS = {
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 12, (1, 3), groups=4, padding="same", dilation=2, bias=False),
            nn.Flatten(),
            nn.Linear(12 * 25, 7),
        ),
        torch.zeros(2, 4, 10, 10),
    ),
    "transposed": (
        nn.Sequential(
            nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False),
            nn.Flatten(2),
            nn.ConvTranspose1d(6, 4, 5, dilation=2),
        ),
        torch.zeros(2, 8, 5, 4),
    ),
    "one axis": (nn.Sequential(nn.Conv1d(3, 6, 5, padding="valid")), torch.zeros(1, 3, 20)),
    "tokens": (nn.Linear(6, 5), torch.zeros(3, 4, 6)),
    "attention": (Attention(), torch.zeros(2, 7, 12)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_multiply_adds_are_those_of_pytorch(name) -> None:
    network, example = NETWORKS[name]
    workload = trace(network, example)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network.eval()(example[:1])
    assert 2 * workload.multiply_adds == counter.get_total_flops()


def test_every_field_of_a_convolution() -> None:
    network, example = NETWORKS["convolutions"]
    first, grouped, head = trace(network, example).layers
    assert first == Layer(
        name="0",
        kind="convolution",
        rows=8,
        columns=36,
        positions=25,
        input_shape=(1, 4, 10, 10),
        output_shape=(1, 8, 5, 5),
        dtype="float32",
        parameter="0.weight",
        weight_shape=(8, 4, 3, 3),
        bias="0.bias",
        kernel=(3, 3),
        stride=(2, 2),
        padding=(1, 1),
        dilation=(1, 1),
    )
    assert (grouped.groups, grouped.columns, grouped.padding, grouped.bias) == (4, 6, (0, 2), None)
    assert (head.name, head.kind, head.positions, head.weight_count) == ("4", "linear", 1, 2100)


def test_recurrent_layers_have_one_entry_for_each_weight() -> None:
    network = nn.LSTM(5, 3, batch_first=True, bidirectional=True)
    layers = trace(network, torch.zeros(2, 11, 5)).layers
    assert [(layer.parameter, layer.rows, layer.columns, layer.positions) for layer in layers] == [
        ("weight_ih_l0", 12, 5, 11),
        ("weight_hh_l0", 12, 3, 11),
        ("weight_ih_l0_reverse", 12, 5, 11),
        ("weight_hh_l0_reverse", 12, 3, 11),
    ]
    assert layers[1].bias == "bias_hh_l0"


def test_time_major_networks_are_traced_by_a_sample_and_not_by_a_step() -> None:
    network = nn.LSTM(5, 3)
    layers = trace(network, torch.zeros(11, 2, 5)).layers
    assert [(layer.rows, layer.columns, layer.positions) for layer in layers] == [(12, 5, 11), (12, 3, 11)]


def test_networks_that_mix_samples_are_traced_too() -> None:
    class Mixing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ (x - x.mean(0)).transpose(1, 2)

    (layer,) = trace(Mixing(), torch.randn(2, 6, 4)).layers
    assert (layer.rows, layer.columns, layer.positions) == (6, 4, 6)


def test_products_of_activations_have_no_parameter() -> None:
    mix, scores, values, table, last = trace(*NETWORKS["attention"]).layers
    assert mix.parameter == "mix.weight"
    assert (scores.rows, scores.columns, scores.positions, scores.parameter) == (7, 4, 21, None)
    assert (values.rows, values.columns, values.positions, values.weight_count) == (4, 7, 21, 0)
    assert (table.parameter, table.weight_count, last.rows) == ("table", 60, 2)


def test_shared_weights_count_once_under_the_name_of_the_plan() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    network[2].weight = network[0].weight
    workload = trace(network, torch.zeros(1, 4))
    assert [(layer.name, layer.parameter) for layer in workload.layers] == [
        ("0", "0.weight"),
        ("2", "0.weight"),
    ]
    assert (workload.weight_count, workload.multiply_adds) == (16, 32)
    assert set(Plan((Rule("*", Unstructured(0.5)),)).resolve(network)) == {"0.weight"}


def test_exported_programs() -> None:
    network, example = NETWORKS["convolutions"]
    batch = torch.export.Dim("batch")
    program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
    assert trace(program, example) == trace(network, example)


def test_a_network_that_cannot_be_exported() -> None:
    with pytest.raises(SpokeshaveError, match="cannot be exported"):
        trace(nn.Linear(3, 4), torch.zeros(1, 5))


class Unusual(nn.Module):
    """Products in every form that is no layer here, one of them without gradients."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(8, 4))
        self.frozen, self.pair, self.cell = nn.Linear(4, 4), nn.Bilinear(4, 4, 3), nn.GRUCell(4, 4)

    def forward(self, x):
        with torch.no_grad():
            x = self.frozen(x)
        both = (
            torch.inner(self.matrix, self.matrix),
            torch.tensordot(self.matrix, self.matrix, dims=([1], [1])),
        )
        return self.pair(x, x), self.cell(x, x), torch.einsum("bi,oi->bo", x, self.matrix), *both


def test_products_of_unknown_sizes_are_told_and_layers_without_gradients_are_seen():
    workload = trace(Unusual().eval(), torch.ones(1, 4))
    assert [layer.name for layer in workload.layers] == ["frozen"]
    names = {"bilinear": "pair", "gru_cell": "cell", "einsum": "", "inner": "", "tensordot": ""}
    assert {operator: name for name, operator in workload.unseen} == names


def test_layers_in_regions_of_their_own_are_told():
    class Switched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            with torch.enable_grad():
                return torch.relu(self.inner(x))

    ((name, operator),) = trace(Switched().eval(), torch.ones(1, 4)).unseen
    assert name == "inner"
    assert "linear" in operator


@pytest.mark.parametrize("transposed", [False, True])
def test_volumes_are_counted(transposed):
    kind = nn.ConvTranspose3d if transposed else nn.Conv3d
    layer = kind(2, 4, 3, stride=2, padding=1)
    example = torch.ones(1, 2, 6, 5, 7)
    (found,) = trace(nn.Sequential(layer).eval(), example).layers
    counted = example if transposed else layer(example)
    assert found.multiply_adds == 2 * 4 * 27 * counted[0, 0].numel()
    assert found.stride == (2, 2, 2)
