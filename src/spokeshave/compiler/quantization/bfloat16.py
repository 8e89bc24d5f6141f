"""bfloat16: layers over many lanes compute in it; weights that stream past single vectors are stored in it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from spokeshave.compiler.emit.depthwise import is_depthwise
from spokeshave.compiler.emit.layouts import choose_layouts
from spokeshave.compiler.emit.selected import over_lanes
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.kernels.words import whole_words, word_matrix
from spokeshave.compiler.layout import CHANNELS_PER_WORD, Layout, Planes, words
from spokeshave.compiler.operations import (
    Convolution,
    Linear,
    Recurrent,
    Round,
    Rounded,
    SelectedLinear,
    Widen,
)
from spokeshave.compiler.quantization.attention import attention_in_bfloat16
from spokeshave.compiler.quantization.convert import convert_layers
from spokeshave.compiler.quantization.record import LayerPrecision
from spokeshave.compiler.schedule import Product, schedule_for

PER_WORD = CHANNELS_PER_WORD["bfloat16"]

WEIGHTS_ALONE = "its weights; over single vectors float32 computes with them"
DEPTHWISE = "a depthwise convolution has no kernel in bfloat16"
SELECTED = "matrices that many tokens choose have no kernel in bfloat16"
SCATTERED = "its zeros are scattered: pairs of channels would be computed with them, float32 leaves them out"


@dataclass(frozen=True)
class BFloat16:
    """bfloat16 for every layer: weights, and inputs where many lanes share them."""


def to_bfloat16(
    pieces: tuple[Graph | Node, ...], isa: InstructionSet
) -> tuple[tuple[Graph | Node, ...], tuple[LayerPrecision, ...]]:
    """The segments with their layers in bfloat16, and what became of every layer."""
    lowered: list[Graph | Node] = []
    records: list[LayerPrecision] = []
    for piece in pieces:
        if isinstance(piece, Graph):
            piece, found = _segment(attention_in_bfloat16(piece, isa), isa)
            records += found
        lowered.append(piece)
    return tuple(lowered), tuple(records)


def _segment(graph: Graph, isa: InstructionSet) -> tuple[Graph, list[LayerPrecision]]:
    layouts, records = choose_layouts(graph, isa), []
    computed: set[str] = set()
    streamed: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.operation, SelectedLinear):
            found = _selected(graph, node, layouts, isa)
            records.append(LayerPrecision(node.layer, *found))
            streamed |= {node.operation.weight} if found[0] == "bfloat16" else set()
            continue
        if not isinstance(node.operation, Convolution | Linear | Recurrent):
            continue
        if is_depthwise(graph, node):
            records.append(LayerPrecision(node.layer, "float32", DEPTHWISE))
            continue
        planar = all(isinstance(layouts[name], Planes) for name in (*node.inputs, *node.outputs))
        if planar and not isinstance(node.operation, Recurrent):
            if not _pays(graph, node, layouts, isa):
                records.append(LayerPrecision(node.layer, "float32", SCATTERED))
                continue
            computed.add(node.output)
        else:
            streamed |= _weights(node)
        records.append(LayerPrecision(node.layer, "bfloat16", "" if planar else WEIGHTS_ALONE))
    weights = dict(graph.weights) | {name: _rounded(graph.weights[name]).float() for name in streamed}
    return convert_layers(replace(graph, weights=weights), frozenset(computed), _Halves(weights)), records


def _pays(graph: Graph, node: Node, layouts: Mapping[str, Layout], isa: InstructionSet) -> bool:
    """Whether pairs of channels cost no more than the single weights that are kept, by the estimate of schedules."""
    layer, read, written = node.operation, layouts[node.inputs[0]], layouts[node.output]
    assert isinstance(layer, Convolution | Linear)
    assert isinstance(read, Planes)
    assert isinstance(written, Planes)
    weight, groups = graph.weights[layer.weight], layer.groups if isinstance(layer, Convolution) else 1
    kept, vectors = (weight != 0).numpy(), int(written.lanes) // isa.lanes
    if kept.all():
        return True
    floats = Product(kept.reshape(len(kept), -1), groups, (), read.channels, vectors)
    pairs = whole_words(word_matrix(kept.astype(np.int16), groups, PER_WORD), PER_WORD) != 0
    rounded = Product(pairs, 1, (), words(read.channels, "bfloat16"), vectors, "bfloat16", PER_WORD)
    costs = [product.cycles(schedule_for(product, isa)) for product in (rounded, floats)]
    return costs[0] <= costs[1]


def _selected(
    graph: Graph, node: Node, layouts: Mapping[str, Layout], isa: InstructionSet
) -> tuple[str, str]:
    """Precision and reason of a layer whose matrices tokens choose."""
    assert isinstance(node.operation, SelectedLinear)
    matrices = len(graph.weights[node.operation.weight])
    if over_lanes(matrices, layouts[node.inputs[0]], layouts[node.output], isa):
        return "float32", SELECTED
    return "bfloat16", WEIGHTS_ALONE


def _weights(node: Node) -> set[str]:
    operation = node.operation
    if isinstance(operation, Recurrent):
        return {operation.input_weight, operation.hidden_weight}
    assert isinstance(operation, Convolution | Linear)
    return {operation.weight}


def _rounded(weight: Tensor) -> Tensor:
    """The weight in bfloat16, zeros without a sign: kernels drop what is all zero bits."""
    return weight.detach().bfloat16() + 0


@dataclass(frozen=True)
class _Halves:
    """bfloat16 values and weights."""

    weights: Mapping[str, Tensor]
    dtype: str = "bfloat16"
    suffix: str = "bfloat16"

    def narrow(self, value: str) -> Round:
        return Round()

    def widen(self, value: str) -> Widen:
        return Widen()

    def layer(
        self, node: Node, weight: str, residual: str | None, output: str | None
    ) -> tuple[Rounded, dict[str, Tensor]]:
        layer = node.operation
        assert isinstance(layer, Convolution | Linear)
        operation = Rounded(replace(layer, weight=weight), residual is not None, output is not None)
        return operation, {weight: _rounded(self.weights[layer.weight])}
