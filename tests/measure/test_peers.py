import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch._inductor import config as inductor_settings

from spokeshave.errors import SpokeshaveError
from spokeshave.measure import PEERS, Absent, dense_peers, limited_threads
from spokeshave.measure.peers import dense, relative_error

EXAMPLE = torch.randn(3, 3, 10, 10)


def small_network():
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Conv2d(8, 8, 3)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, left, right):
        return {"sum": self.head(left + right), "parts": (self.head(left), self.head(right))}


def expected_outputs(network, example=EXAMPLE):
    with torch.inference_mode():
        return network.eval()(example[:1])


def test_peers_agree_with_eager_and_leave_the_network_as_it_was(one_thread):
    network = small_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    peers, absent = dense_peers(network, EXAMPLE, only=["eager", "channels_last", "onnxruntime"])
    assert [peer.name for peer in peers] == ["PyTorch eager", "PyTorch eager, channels last", "ONNX Runtime"]
    assert absent == []
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network[0].weight.is_contiguous()
    expected = expected_outputs(network)
    assert all(relative_error(peer.run(), expected) < 1e-4 for peer in peers)


def test_a_whole_batch_in_one_call(one_thread):
    network = small_network()
    peers, absent = dense_peers(network, EXAMPLE, only=["eager", "onnxruntime"], batched=True)
    with torch.inference_mode():
        expected = network.eval()(EXAMPLE)
    assert absent == []
    assert all(relative_error(peer.run(), expected) < 1e-4 for peer in peers)


def test_peers_do_not_follow_later_training(one_thread):
    network = small_network()
    (peer,), _ = dense_peers(network, EXAMPLE, only=["eager"])
    before = peer.run().clone()
    nn.init.zeros_(network[-1].weight)
    assert torch.equal(peer.run(), before)


def test_nested_outputs_and_several_inputs_reach_every_runtime(one_thread):
    example = (torch.randn(2, 6), torch.randn(2, 6))
    peers, absent = dense_peers(TwoHeads(), example, only=["eager", "onnxruntime", "channels_last"])
    assert [peer.name for peer in peers] == ["PyTorch eager", "ONNX Runtime"]
    assert absent == [Absent("PyTorch eager, channels last", "the network has no 2-D convolution")]


def test_an_exported_program_has_peers_too(one_thread):
    program = torch.export.export(small_network().eval(), (EXAMPLE[:1],))
    peers, _ = dense_peers(program, EXAMPLE, only=["eager", "onnxruntime"])
    assert len(peers) == 2


@pytest.mark.slow
def test_torch_compile_agrees_and_its_weights_are_frozen(one_thread):
    from torch._dynamo.utils import counters

    counters.clear()
    network = small_network()
    (peer,), absent = dense_peers(network, EXAMPLE, only=["compile"])
    assert absent == []
    assert relative_error(peer.run(), expected_outputs(network)) < 1e-4
    assert counters["inductor"]["binary_folding"] > 0  # batch norm goes into the convolution only when frozen
    assert not inductor_settings.freezing


def test_without_a_compiler_torch_compile_is_absent(one_thread):
    class Unlike(nn.Module):
        def forward(self, x):
            return torch.tanh(x).mul(1.2345).cumsum(1)

    with inductor_settings.patch({"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False}):
        peers, absent = dense_peers(Unlike(), EXAMPLE, only=["compile"])
    assert peers == []
    assert absent[0].name == "torch.compile"
    assert "compiler" in absent[0].reason.lower()
    assert "\n" not in absent[0].reason


def test_without_its_package_a_peer_is_absent_and_the_extra_is_named(one_thread, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    peers, absent = dense_peers(small_network(), EXAMPLE, only=["onnxruntime"])
    assert peers == []
    assert absent[0].reason == "onnxruntime is not installed: pip install 'spokeshave[peers]'"


def test_a_peer_that_computes_something_else_is_absent(one_thread, monkeypatch):
    def half(task):
        rounded = [tensor.bfloat16().float() for tensor in task.inputs]
        return lambda: task.network(*rounded) * 1.01

    monkeypatch.setitem(PEERS, "half", dense.Maker("Half", "torch", half))
    peers, absent = dense_peers(small_network(), EXAMPLE, only=["half"])
    assert peers == []
    assert absent[0].reason.startswith("its outputs differ from PyTorch's by ")


def test_threads_are_limited_and_given_back():
    before = torch.get_num_threads()
    seen = []

    class Counts(nn.Module):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            return x

    dense_peers(Counts(), EXAMPLE, threads=1, only=["eager"])
    assert set(seen) == {1}
    assert torch.get_num_threads() == before
    with pytest.raises(SpokeshaveError, match="at least 1"), limited_threads(0):
        pass


def test_relative_error_compares_arrays_tensors_and_shapes():
    wanted = (torch.tensor([1.0, -2.0]), torch.tensor([True]))
    assert relative_error([np.array([1.0, -1.0]), np.array([True])], wanted) == 0.5
    assert relative_error([np.array([1.0])], wanted) == float("inf")
    assert relative_error(torch.tensor([float("nan")]), torch.tensor([1.0])) == float("inf")
    assert relative_error(torch.zeros(0), torch.zeros(0)) == 0.0


def test_an_unknown_peer_is_told_with_the_known_ones():
    with pytest.raises(SpokeshaveError, match="no peer 'tensorrt'; known ones are eager"):
        dense_peers(small_network(), EXAMPLE, only=["tensorrt"])


def test_openvino_agrees_where_it_is_installed(one_thread):
    pytest.importorskip("openvino")
    example = (torch.randn(2, 6), torch.randn(2, 6))
    peers, absent = dense_peers(TwoHeads(), example, only=["openvino"])
    assert [peer.name for peer in peers] == ["OpenVINO"], absent
