"""Imported graphs, run by the reference, equal PyTorch; what has no typed operation is foreign, with its reason."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spokeshave.compiler.importer import import_program
from spokeshave.compiler.operations import Foreign, Slice
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.reference import run_reference
from spokeshave.compiler.verify import verify
from spokeshave.export import export_network


class Function(nn.Module):
    """A module of one function, with a weight to use."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(6, 5, 3, 3))

    def forward(self, x):
        return self.function(self, x)


MAP = (5, 8, 6)
TYPED = {
    "cube": lambda m, x: x**3,
    "repeated elements": lambda m, x: x[:, :, :1].expand(-1, -1, 3, -1),
    "expanded as another": lambda m, x: x[:, :1].expand_as(x),
    "elements by number": lambda m, x: x[:, :, torch.tensor([2, 0, 1])],
    "roll": lambda m, x: x.roll((1, -2), (2, 3)),
    "chosen numbers": lambda m, x: torch.where((x > 0.5) & ~(x >= 1), 1.0, -2.0),
    "conv": lambda m, x: F.conv2d(x, m.weight, stride=2, padding=1),
    "conv same": lambda m, x: F.conv2d(x, m.weight, padding="same", dilation=2),
    "conv valid": lambda m, x: F.conv2d(x, m.weight, padding="valid"),
    "conv1d": lambda m, x: F.conv1d(x.flatten(2), m.weight[:, :, 0], padding=2, stride=2, dilation=2),
    "computed weight": lambda m, x: F.conv2d(x, m.weight / m.weight.norm()),
    "relu": lambda m, x: torch.relu(x),
    "relu in place": lambda m, x: F.relu(x * 1.0, inplace=True),
    "relu6": lambda m, x: F.relu6(x),
    "hardtanh": lambda m, x: F.hardtanh(x, -0.5, 0.25),
    "clamp": lambda m, x: x.clamp(-0.5, 0.25),
    "clamp below": lambda m, x: x.clamp(min=0.1),
    "clamp above": lambda m, x: x.clamp_max(0.1),
    "leaky relu": lambda m, x: F.leaky_relu(x, 0.2),
    "sigmoid": lambda m, x: torch.sigmoid(x),
    "tanh": lambda m, x: torch.tanh(x),
    "silu": lambda m, x: F.silu(x),
    "gelu": lambda m, x: F.gelu(x),
    "gelu tanh": lambda m, x: F.gelu(x, approximate="tanh"),
    "hardsigmoid": lambda m, x: F.hardsigmoid(x),
    "hardswish": lambda m, x: F.hardswish(x),
    "elu": lambda m, x: F.elu(x, 0.7),
    "add": lambda m, x: x + torch.relu(x),
    "subtract from a number": lambda m, x: 1.0 - x,
    "divide a number": lambda m, x: 2.0 / torch.sigmoid(x),
    "multiply by a weight": lambda m, x: x * m.weight[0, :, :1, :1],
    "maximum": lambda m, x: torch.maximum(x, torch.tanh(x)),
    "max pool": lambda m, x: F.max_pool2d(x, 3, 2, 1),
    "max pool ceil": lambda m, x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "average pool": lambda m, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive to one": lambda m, x: F.adaptive_avg_pool2d(x, 1),
    "adaptive divisor": lambda m, x: F.adaptive_avg_pool2d(x, (4, 2)),
    "mean": lambda m, x: x.mean((2, 3)),
    "flatten": lambda m, x: x.flatten(1),
    "transpose": lambda m, x: x.flatten(2).transpose(1, 2),
    "permute": lambda m, x: x.permute(0, 2, 3, 1),
    "cat": lambda m, x: torch.cat([x, torch.relu(x)], 1),
    "softmax": lambda m, x: F.softmax(x, 1),
    "log softmax": lambda m, x: F.log_softmax(x.flatten(1), -1),
    "layer norm": lambda m, x: F.layer_norm(x.flatten(2), (48,)),
    "group norm": lambda m, x: F.group_norm(x, 5),
    "slice": lambda m, x: x[:, 1:-1, ::2],
    "pad": lambda m, x: F.pad(x, (1, 2, 0, 0, 2, 1), value=0.5),
    "dropout": lambda m, x: F.dropout(torch.relu(x), 0.5, m.training),
    "batch norm": lambda m, x: F.batch_norm(
        x, m.weight[0, :, 0, 0].detach(), m.weight[1, :, 0, 0].detach().square()
    ),
}
TYPED |= {
    "conv1d same": lambda m, x: F.conv1d(x.flatten(2), m.weight[:, :, 0, :2], padding="same"),
    "conv of one sample without batch": lambda m, x: F.conv2d(x[0], m.weight).unsqueeze(0),
    "product with a weight": lambda m, x: x.flatten(2).transpose(1, 2) @ m.weight[0, :, 0],
    "sum and product": lambda m, x: torch.addmm(m.weight[0, 0, 0], x[:, 0, :3, 0], m.weight[0, 1]),
    "linear over many axes": lambda m, x: F.linear(x, m.weight[:, 0, :2].flatten(1)),
    "negative": lambda m, x: -x,
    "square": lambda m, x: x**2,
    "scaled sum": lambda m, x: (
        torch.add(x, x.sigmoid(), alpha=2) + torch.add(x, m.weight[0, :, :1, :1], alpha=3)
    ),
    "sum of different ranks": lambda m, x: x + x[:, :, :, 0].mean(1, keepdim=True).mean(2),
    "clamp at zero": lambda m, x: x.clamp(min=0),
    "max pool 1d": lambda m, x: F.max_pool1d(x.flatten(2), 3, 2, 1, 2),
    "average pool 1d": lambda m, x: F.avg_pool1d(x.flatten(2), 4, 3, 1, True, False),
    "max pool of a pair": lambda m, x: F.max_pool2d(x, 2, return_indices=True)[0],
    "adaptive 1d": lambda m, x: (
        F.adaptive_avg_pool1d(x.flatten(2), 4) + F.adaptive_max_pool1d(x.flatten(2), 4)
    ),
    "adaptive max": lambda m, x: F.adaptive_max_pool2d(x, (2, 3)),
    "mean of all": lambda m, x: x - x.mean(),
    "mean over the batch": lambda m, x: x - x.mean((0, 2), keepdim=True),
    "split": lambda m, x: torch.split(x, [2, 3], 1)[1] * torch.chunk(x, 2, 1)[0],
    "unbind": lambda m, x: x.unbind(1)[2] * x.unbind(0)[0][1],
    "select": lambda m, x: x[:, 1] + x[0, 2],
    "squeeze and unsqueeze": lambda m, x: x[:, :1].squeeze(1).unsqueeze(-1).unflatten(1, (2, 4)),
    "stack": lambda m, x: torch.stack([x, -x], 2),
    "stack in front": lambda m, x: torch.stack([x[0], -x[0], x[0] * 2]).softmax(1).unsqueeze(0),
    "a token in front": lambda m, x: torch.cat([m.weight[:1, :, 0, :2], x[:, :, 0]], 2),
    "batch axis moved": lambda m, x: F.layer_norm(x.permute(2, 0, 3, 1), (5,)).permute(1, 3, 0, 2),
    "batch axis merged": lambda m, x: torch.sigmoid(x.reshape(5, 8, 6).transpose(0, 1)).reshape(1, 8, 30),
    "softmax over the last axis": lambda m, x: F.softmax(x, -1),
    "layer norm over many axes": lambda m, x: F.layer_norm(x, (8, 6)),
    "instance norm": lambda m, x: F.instance_norm(x, weight=m.weight[0, :, 0, 0]),
    "constant tensors": lambda m, x: x * torch.arange(6) + torch.ones_like(x) + x.new_zeros(6),
    "product of values": lambda m, x: x @ x.transpose(-1, -2),
    "product without batch": lambda m, x: x[0] @ x[0].transpose(-1, -2),
    "product of matrices along other axes": lambda m, x: torch.matmul(x[:, :1], x.transpose(-1, -2)),
    "product with constant matrices": lambda m, x: m.weight[:5, :, 0] @ x[0, :, :3, :2],
    "batched product": lambda m, x: torch.bmm(x[0], x[0].transpose(-1, -2)).relu().sum((1, 2)),
    "sum": lambda m, x: x / x.sum((1, 3), keepdim=True),
    "mean over the last axis": lambda m, x: x - x.mean(-1, keepdim=True),
    "mean over channels": lambda m, x: x.mean(1),
    "outer sum": lambda m, x: x[:, :, :1] + x[:, :1, :, :1] + x[:, 0, :1],
    "roots and powers of e": lambda m, x: x.exp().sqrt() + (x.square() + 0.1).rsqrt(),
    "rms norm": lambda m, x: F.rms_norm(x, (8, 6), weight=m.weight[0, 0, 0, 0].expand(8, 6)),
    "rms norm written out": lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5),
    "top k": lambda m, x: x.topk(2)[0] * (x.topk(2)[1] > 2).float() + x.topk(2)[1].float(),
    "repeated one by one": lambda m, x: x.repeat_interleave(3, dim=2),
    "matrices by number": lambda m, x: torch.bmm(
        m.weight[:, 0][x[0, 0, 0].topk(2)[1]], x[0, 0, :2, :3, None]
    ),
    "unchanged type": lambda m, x: x.to(torch.float32).contiguous().clone().detach() * 1.5,
}
FOREIGN = {
    "adaptive uneven": lambda m, x: F.adaptive_avg_pool2d(x, (3, 4)),
    "3-D convolution": lambda m, x: F.conv3d(x.unsqueeze(1), m.weight[:, :1].unsqueeze(2)),
    "convolution of many maps": lambda m, x: F.conv2d(x.transpose(0, 1), m.weight[:, :1]),
    "weight computed from the input": lambda m, x: F.conv2d(x, m.weight * x.mean()),
    "pool of many maps": lambda m, x: F.max_pool2d(x.transpose(0, 1), 2),
    "cumulative sum": lambda m, x: x.cumsum(2),
    "sort": lambda m, x: x.sort(-1)[0],
    "product of repeated matrices": lambda m, x: torch.addmm(x[0, 0, :, :1], x[0, 0], x[0, 1].t()),
    "smallest": lambda m, x: x.topk(2, largest=False)[0],
    "matrices by number beside vectors": lambda m, x: m.weight[:, 0][x[0, 0, 0].topk(2)[1]] * 2,
    "norm": lambda m, x: F.normalize(x.flatten(1)),
    "argument of maximum": lambda m, x: F.max_pool2d(x, 2, return_indices=True)[1],
    "double": lambda m, x: torch.relu(x.double()).float(),
    "power": lambda m, x: x.abs() ** 2.5,
    "rounded division": lambda m, x: torch.div(x, 0.3, rounding_mode="floor"),
    "reflected padding": lambda m, x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "negative padding": lambda m, x: F.pad(x, (-1, 1)),
    "written in place": lambda m, x: (x * 1.0).index_fill_(1, torch.tensor([2]), 3.0),
}


def imported(function, shape=MAP):
    torch.manual_seed(0)
    module = Function(function).eval()
    x = torch.randn(1, *shape)
    return import_program(export_network(module, x)), module, x


def assert_equal_to_pytorch(function):
    result, module, x = imported(function)
    for graph in (verify(result.graph), optimise(result.graph)):
        (output,) = run_reference(graph, [x])
        expected = module(x)
        if expected.shape[:1] != (1,):  # the sample axis that every output gets
            expected = expected.unsqueeze(0)
        torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    return result.graph


@pytest.mark.parametrize("name", TYPED)
def test_typed_operators(name):
    graph = assert_equal_to_pytorch(TYPED[name])
    assert not [node.operation for node in graph.nodes if isinstance(node.operation, Foreign)]


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_operators_keep_their_reason(name):
    graph = assert_equal_to_pytorch(FOREIGN[name])
    reasons = [node.operation.reason for node in graph.nodes if isinstance(node.operation, Foreign)]
    assert reasons
    assert all(reasons)


def test_numbers_of_slices_are_never_negative():
    result, _, _ = imported(lambda m, x: x[:, -3:-1])
    (operation,) = [node.operation for node in result.graph.nodes if isinstance(node.operation, Slice)]
    assert (operation.start, operation.stop) == (2, 4)
