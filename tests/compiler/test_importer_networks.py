"""Whole networks: the imported graph and the optimised one equal PyTorch, and little is left to PyTorch."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.importer import OutputStructure, import_program
from spokeshave.compiler.importer.names import layer_name
from spokeshave.compiler.operations import (
    Affine,
    Attention,
    Binary,
    Convolution,
    Foreign,
    Linear,
    Pad,
    Recurrent,
    Reshape,
)
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.verify import verify
from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network

torch.set_num_threads(1)


def imported(network: nn.Module, *inputs: torch.Tensor) -> Graph:
    """The optimised graph of a network, after both graphs were compared with PyTorch on a batch of two."""
    torch.manual_seed(0)
    for module in network.eval().modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    result = import_program(export_network(network, inputs))
    structure = OutputStructure.from_json(json.loads(json.dumps(result.structure.to_json())))
    with torch.no_grad():
        expected = network(*inputs)
    graph = optimise(result.graph)
    for candidate in (verify(result.graph), graph):
        outputs = structure.build(run_reference(candidate, inputs))
        torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)
    return graph


def count(graph: Graph, kind: type) -> int:
    return sum(isinstance(node.operation, kind) for node in graph.nodes)


def foreign(graph: Graph) -> list[str]:
    return [node.operation.target for node in graph.nodes if isinstance(node.operation, Foreign)]


class OptionA(nn.Module):
    """A residual block whose shortcut is strided slicing and zero channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))


def test_residual_block_with_sliced_and_padded_shortcut():
    graph = imported(OptionA(), torch.randn(2, 4, 8, 8))
    assert [type(node.operation).__name__ for node in graph.nodes].count("Convolution") == 2
    assert count(graph, Affine) == count(graph, Binary) == 0
    assert not foreign(graph)


class SqueezeExcite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Sequential(
            nn.Conv2d(4, 12, 1, bias=False), nn.BatchNorm2d(12), nn.Hardswish(inplace=True)
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(12, 12, 5, 2, 2, groups=12), nn.BatchNorm2d(12), nn.ReLU6(inplace=True)
        )
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 4, 1), nn.ReLU(), nn.Conv2d(4, 12, 1), nn.Hardsigmoid()
        )
        self.project = nn.Conv2d(12, 6, 1)

    def forward(self, x):
        y = self.depthwise(self.expand(x))
        return self.project(y * self.gate(y))


def test_mobile_block_with_squeeze_and_excite():
    graph = imported(SqueezeExcite(), torch.randn(2, 4, 8, 8))
    assert not foreign(graph)
    assert len(graph.nodes) == 7  # five convolutions, the mean and the product


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(4 + 3 * i), nn.ReLU(), nn.Conv2d(4 + 3 * i, 3, 3, padding=1))
            for i in range(3)
        )
        self.transition = nn.Sequential(nn.Conv2d(13, 6, 1), nn.AvgPool2d(2, 2))

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.transition(x)


def test_dense_block_with_concatenation():
    assert not foreign(imported(Dense(), torch.randn(2, 4, 8, 8)))


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.tokens = nn.Sequential(nn.Linear(16, 12), nn.GELU(), nn.Dropout(0.1), nn.Linear(12, 16))
        self.channels = nn.Sequential(nn.Linear(8, 20), nn.GELU(), nn.Linear(20, 8))

    def forward(self, x):
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return (x + self.channels(self.norm2(x))).mean(1)


def test_mixer():
    graph = imported(Mixer(), torch.randn(2, 3, 16, 16))
    assert not foreign(graph)
    assert count(graph, Binary) == 1  # the sum after the transpose; the other one is in its linear layer


def test_pytorchs_own_transformer_layers_are_typed_whole():
    network = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    graph = imported(network, torch.randn(2, 5, 8))
    assert foreign(graph) == []
    assert count(graph, Attention) == 2
    layers = {node.layer for node in graph.nodes if isinstance(node.operation, Linear)}
    assert "layers.1.self_attn.out_proj" in layers


class Audio(nn.Module):
    """Two 1-D convolutions with batch norm and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(3, 6, 5, 2, 2), nn.BatchNorm1d(6)
        self.conv2, self.norm2 = nn.Conv1d(6, 6, 3, padding="same"), nn.BatchNorm1d(6)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(x))).amax(2)


def test_one_dimensional_convolutions_take_in_what_follows_them():
    graph = imported(Audio(), torch.randn(2, 3, 20))
    assert [type(node.operation) for node in graph.nodes] == [
        Reshape,
        Convolution,
        Convolution,
        Reshape,
        Foreign,
    ]
    assert graph.nodes[2].operation.residual


def test_padding_as_tensorflow_does_it():
    class SamePadding(nn.Sequential):
        def forward(self, x):
            return super().forward(F.pad(x, (0, 1, 0, 1)))

    graph = imported(SamePadding(nn.Conv2d(3, 4, 3, 2), nn.ReLU()), torch.randn(2, 3, 8, 8))
    assert count(graph, Pad) == 0
    assert graph.nodes[0].operation.padding == (0, 0, 1, 1)


def test_recurrent_layers_keep_the_names_of_their_weights():
    class Memory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 6, batch_first=True)
            self.head = nn.Linear(6, 2)

        def forward(self, x):
            return self.head(torch.relu(self.gru(x)[0]))

    graph = imported(Memory(), torch.randn(2, 5, 4))
    assert foreign(graph) == []
    (node,) = (node for node in graph.nodes if isinstance(node.operation, Recurrent))
    assert (node.layer, node.operation.hidden_weight) == ("gru", "gru.weight_hh_l0")


class ManySequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(5, 6, batch_first=True)

    def forward(self, x):
        return self.gru(x.flatten(0, 1))[0].mean()


@pytest.mark.parametrize(
    ("network", "shape", "reason"),
    [
        (nn.LSTM(4, 6, proj_size=3, batch_first=True), (2, 5, 4), "projects its state"),
        (ManySequences(), (1, 4, 3, 5), "holds 4 sequences of one sample"),
    ],
)
def test_recurrent_layers_without_a_kernel_say_why(network, shape, reason):
    nodes = import_program(export_network(network, torch.randn(shape))).graph.nodes
    reasons = [node.operation.reason for node in nodes if isinstance(node.operation, Foreign)]
    assert reason in reasons[0]


def test_inputs_weights_and_constants_can_be_outputs():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 3), nn.Linear(4, 3)
            self.register_buffer("anchors", torch.randn(2, 5))

        def forward(self, x, y):
            total = self.first(x) + self.second(y)
            return {"total": total, "same": [total, y], "anchors": self.anchors, "none": None, "version": 3}

    graph = imported(Odd(), torch.randn(2, 6), torch.randn(2, 4))
    assert count(graph, Binary) == 0


def test_shared_weights_stay_one_tensor():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.tied = nn.Linear(4, 4), nn.Linear(4, 4)
            self.tied.weight = self.layer.weight

        def forward(self, x):
            return self.tied(self.layer(torch.relu(self.layer(x))))

    graph = imported(Twice(), torch.randn(2, 4))
    assert {node.operation.weight for node in graph.nodes if isinstance(node.operation, Linear)} == {
        "layer.weight"
    }
    assert [node.layer for node in graph.nodes if isinstance(node.operation, Linear)] == [
        "layer",
        "layer",
        "tied",
    ]


def test_weights_that_are_computed_from_weights_are_constants():
    network = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.ReLU())
    graph = imported(network, torch.randn(2, 3, 6, 6))
    assert [node.layer for node in graph.nodes] == ["0"]
    assert not foreign(graph)


def test_layers_carry_the_names_of_their_modules():
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stage = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
            self.head = nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.stage(x).mean((2, 3))).cumsum(1)

    graph = imported(Network(), torch.randn(2, 3, 5, 5))
    assert [node.layer for node in graph.nodes] == ["stage.0", "mean", "head", "cumsum"]


def test_an_exported_program_that_is_exported_again_keeps_the_names():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (torch.randn(2, 3, 5, 5),), dynamic_shapes=({0: batch},))
    graph = optimise(import_program(export_network(program, torch.randn(2, 3, 5, 5))).graph)
    assert [(node.layer, node.operation.weight) for node in graph.nodes] == [("0", "0.weight")]


def test_operators_decomposed_to_the_core_set_are_still_known():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Hardtanh(),
        nn.MaxPool2d(2),
        nn.GroupNorm(2, 4),
        nn.Flatten(),
    )
    network.extend([nn.Linear(16, 6), nn.LayerNorm(6), nn.Softmax(1)]).eval()
    x = torch.randn(1, 3, 6, 6)
    graph = import_program(export_network(network, x).run_decompositions()).graph
    assert not foreign(graph)
    torch.testing.assert_close(run_reference(optimise(graph), [x])[0], network(x))


def test_hugging_face_resnet():
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[4, 8], depths=[1, 2], num_labels=3)
    network, x = transformers.ResNetForImageClassification(config).eval(), torch.randn(1, 3, 16, 16)
    result = import_program(export_network(network, x))
    graph = optimise(result.graph)
    outputs = result.structure.build(run_reference(graph, [x]))
    torch.testing.assert_close(outputs["logits"], network(x).logits)
    assert count(graph, Convolution) + 4 == len(graph.nodes)  # pool, mean, flatten and the head


def test_an_operator_that_is_not_pytorchs_own_is_named():
    @torch.library.custom_op("spokeshave_tests::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    twice.register_fake(torch.empty_like)

    class Custom(nn.Module):
        def forward(self, x):
            return twice(x)

    program = export_network(nn.Sequential(nn.ReLU(), Custom()), torch.zeros(1, 2))
    with pytest.raises(SpokeshaveError, match=r"layer '1' uses the operator spokeshave_tests\.twice"):
        import_program(program)


def test_a_network_that_changes_its_buffers_is_refused():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    with pytest.raises(SpokeshaveError, match="changes its buffer 'calls'"):
        import_program(export_network(Counting(), torch.randn(1, 3)))


def test_the_layer_of_an_operator_outside_of_all_modules_is_the_operator():
    graph = torch.fx.symbolic_trace(lambda x: torch.relu(x)).graph
    node = next(node for node in graph.nodes if node.op == "call_function")
    assert layer_name(node) == "relu"
    assert layer_name(node, ["head.weight"]) == "head"
