"""Norms whose only reader is of lower precision give it what two calls would: bytes, and pairs of bfloat16 numbers."""

import pytest
import torch

from spokeshave.compiler.emit.lower import lower
from spokeshave.compiler.graph import Graph, Node, Value
from spokeshave.compiler.isa import instruction_set
from spokeshave.compiler.operations import (
    Dequantize,
    LayerNorm,
    Operation,
    Quantization,
    Quantize,
    RMSNorm,
    Round,
    Widen,
)
from spokeshave.compiler.reference import run_reference

BYTES = Quantization(0.04, 117)
LOW: dict[str, tuple[Operation, Operation]] = {
    "uint8": (Quantize(BYTES), Dequantize(BYTES)),
    "bfloat16": (Round(), Widen()),
}
NORMS = {"layer norm": LayerNorm(1, "w", "b", 1e-5), "RMS norm": RMSNorm("w", 1e-5)}


def graph_of(norm: Operation, dtype: str, tokens: int, channels: int, also_read: bool) -> Graph:
    shape = (1, tokens, channels)
    values = {name: Value(name, shape) for name in ("x", "n", "y")} | {"low": Value("low", shape, dtype)}
    nodes = (
        Node("norm", norm, ("x",), ("n",)),
        Node("narrow", LOW[dtype][0], ("n",), ("low",)),
        Node("widen", LOW[dtype][1], ("low",), ("y",)),
    )
    weights = {"w": torch.rand(channels) + 0.5, "b": torch.randn(channels)}
    return Graph(("x",), ("y", "n") if also_read else ("y",), values, nodes, weights)


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize(("tokens", "channels"), [(1, 6), (19, 33), (48, 8)])
def test_one_call_gives_what_two_give(back_end, integer_isa, norm, dtype, tokens, channels):
    torch.manual_seed(0)
    x = [3 * torch.randn(2, tokens, channels) + 1]
    torch.manual_seed(1)
    once = graph_of(norm, dtype, tokens, channels, also_read=False)
    torch.manual_seed(1)
    twice = graph_of(norm, dtype, tokens, channels, also_read=True)
    (result,) = back_end(once, x, integer_isa)
    separate, _ = back_end(twice, x, integer_isa)
    assert torch.equal(result, separate)
    step = BYTES.scale if dtype == "uint8" else 2**-7 * result.abs().max()
    assert (result - run_reference(once, x)[0]).abs().max() <= 1.01 * step


@pytest.mark.parametrize("also_read", [False, True])
def test_it_is_one_step(also_read):
    program = lower(graph_of(NORMS["layer norm"], "uint8", 5, 8, also_read), instruction_set("avx2"), {})
    names = [step.operation for step in program.steps if step.layer]
    assert names == (["LayerNorm", "Quantize", "Dequantize"] if also_read else ["LayerNorm", "Dequantize"])
