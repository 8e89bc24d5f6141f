"""Chooses the layout of every value of a graph.

Values joined by stride-1 convolutions and element-wise operations must share one pitch: they form a family, whose
pitch and front margin satisfy the reader that needs most.
"""

from collections.abc import Callable

from spokeshave.compiler.count import Count
from spokeshave.compiler.emit.depthwise import is_depthwise, strided_margins
from spokeshave.compiler.emit.taps import lies_without_gaps, margins, phase_size, taps
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.layout import (
    CACHE_LINE_FLOATS,
    CHANNELS_PER_WORD,
    Flat,
    Grid,
    Layout,
    Planes,
    round_up,
    words,
)
from spokeshave.compiler.operations import (
    Activate,
    Affine,
    Attention,
    Binary,
    Concatenate,
    Convolution,
    Dequantize,
    Embedding,
    GroupNorm,
    LayerNorm,
    Linear,
    Operation,
    Pad,
    Permute,
    Pool,
    Quantize,
    Quantized,
    QuantizedPool,
    QuantizedRecurrent,
    Recurrent,
    Reshape,
    RMSNorm,
    Round,
    Rounded,
    Slice,
    Softmax,
    Where,
    Widen,
)

SHARE_ONE_PITCH = (
    Activate,
    Affine,
    Binary,
    Concatenate,
    Dequantize,
    GroupNorm,
    LayerNorm,
    Linear,
    Quantize,
    Round,
    RMSNorm,
    Softmax,
    Where,
    Widen,
)
LAYOUTS_AGREE = (Activate, Dequantize, Linear, Quantize)  # planes become planes, and rows rows
ROWS_AGREE = (*LAYOUTS_AGREE, Binary, LayerNorm, RMSNorm)  # of single tokens
RECURRENT = (Recurrent, QuantizedRecurrent)
LAYOUTS_DIFFER = (Concatenate, Pad, Permute, *RECURRENT, Reshape, Slice)  # each value may lie in any way


def choose_layouts(graph: Graph, isa: InstructionSet) -> dict[str, Layout]:
    """Layout of every value, by name."""
    family = _families(graph, isa)
    grids = _grids(graph, family, isa)
    rows = _sequences(graph) | _single_tokens(graph)
    layouts: dict[str, Layout] = {}
    for name, value in graph.values.items():
        sample = value.shape[1:]
        stays_with_caller = value.dtype == "int64"
        if is_planar(value.shape) and name not in rows and not stays_with_caller:
            layouts[name] = lay_planes(value.shape, grids[family[name]], isa, value.dtype)
        else:
            layouts[name] = lay_rows(sample, value.dtype)
    return layouts


def _sequences(graph: Graph) -> set[str]:
    """Values that lie row-major, one step's features behind the other's: those of recurrent layers, and what they are
    made from or become, as far as every operation on the way takes any layout.
    """
    values = {id(node): {*node.inputs, *node.outputs} for node in graph.nodes}
    joined = [values[id(node)] for node in graph.nodes if isinstance(_in_float(node), LAYOUTS_AGREE)]
    others = [
        node for node in graph.nodes if not isinstance(_in_float(node), (*LAYOUTS_AGREE, *LAYOUTS_DIFFER))
    ]
    bound = _spread(set().union(*(values[id(node)] for node in others)), joined)
    recurrent = [values[id(node)] for node in graph.nodes if isinstance(node.operation, RECURRENT)]
    return _spread(set().union(*recurrent) - bound, [group - bound for group in values.values()])


def _single_tokens(graph: Graph) -> set[str]:
    """Tokens that are alone, `[1, 1, C]`, lie row-major, so that layers read each weight for one vector and not for
    lanes of which one is true; as far as every operation on the way takes rows.
    """
    single = {name for name, value in graph.values.items() if _is_single(value.shape)}
    joined, bound = [], set(graph.values) - single
    for node in graph.nodes:
        values = single.intersection((*node.inputs, *node.outputs))
        operation = _in_float(node)
        if isinstance(operation, ROWS_AGREE) and not bound.intersection((*node.inputs, *node.outputs)):
            joined.append(values)
        elif not isinstance(operation, (*LAYOUTS_DIFFER, Attention, Embedding)):
            bound |= values
    return single - _spread(bound, joined)


def _is_single(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and not isinstance(shape[1], Count) and shape[1] == 1


def _in_float(node: Node) -> Operation:
    """The operation; of an integer layer, the layer."""
    return node.operation.layer if isinstance(node.operation, Quantized) else node.operation


def _spread(chosen: set[str], groups: list[set[str]]) -> set[str]:
    """Everything in a group with something chosen is chosen as well."""
    while new := set().union(*(group for group in groups if group & chosen)) - chosen:
        chosen = chosen | new
    return chosen


def is_planar(shape: tuple[int, ...]) -> bool:
    """Whether a value of this shape lies in planes: feature maps of more than one position, and tokens."""
    if len(shape) == 4:
        return shape[2] * shape[3] > 1
    return len(shape) == 3


def lay_rows(sample: tuple[int, ...], dtype: str) -> Flat:
    """A row-major value; of lower precision, each row of its last axis is whole words."""
    return Flat((*sample[:-1], words(sample[-1], dtype)) if dtype in CHANNELS_PER_WORD else sample)


def lay_planes(shape: tuple[int, ...], grid: Grid, isa: InstructionSet, dtype: str = "float32") -> Planes:
    """Planes of a feature map `[1, C, H, W]` or of tokens `[1, T, F]` on a grid."""
    tokens = len(shape) == 3
    height, width = _positions(shape)
    channels = words(shape[2] if tokens else shape[1], dtype)
    return grid.planes(channels, height, width, isa.lanes, tokens)


def _positions(shape: tuple[int, ...]) -> tuple[int, int]:
    return (1, shape[1]) if len(shape) == 3 else (shape[2], shape[3])


def layer_of(node: Node) -> Operation:
    """A node's operation; of a layer or pooling in low precision, what it does in low precision."""
    operation = node.operation
    if isinstance(operation, QuantizedPool):
        return operation.pool
    return operation.layer if isinstance(operation, Quantized | Rounded) else operation


def _families(graph: Graph, isa: InstructionSet) -> dict[str, str]:
    """Each planar value's representative (union by shared pitch)."""
    parent = {name: name for name, value in graph.values.items() if is_planar(value.shape)}

    def find(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in graph.nodes:
        joined = [name for name in _joined(graph, node, isa) if name in parent]
        for other in joined[1:]:
            parent[find(other)] = find(joined[0])
    return {name: find(name) for name in parent}


def _joined(graph: Graph, node: Node, isa: InstructionSet) -> tuple[str, ...]:
    """Values of a node that must share one pitch."""
    operation = layer_of(node)
    if isinstance(operation, Convolution):
        images = operation.stride != (1, 1) or reads_tight(graph, node, isa)
        return (node.output, *node.inputs[1:]) if images else (node.output, *node.inputs)
    if isinstance(operation, SHARE_ONE_PITCH):
        return (node.output, *node.inputs)
    if isinstance(operation, Pool) and operation.stride == (1, 1):
        return (node.output, *node.inputs)
    return ()


def _grids(graph: Graph, family: dict[str, str], isa: InstructionSet) -> dict[str, Grid]:
    width: dict[str, int] = {}
    margin: dict[str, tuple[int, int]] = {}

    def widen(member: str, need_width: int, rows: int, columns: int, gaps: bool = True) -> None:
        key = family[member]
        width[key] = max(width.get(key, 0), int(need_width) + columns * gaps)
        old = margin.get(key, (0, 0))
        margin[key] = (max(old[0], rows), max(old[1], columns))

    for name in family:
        widen(name, _positions(graph.shape(name))[1], 0, 0)
    for node in graph.nodes:
        operation = layer_of(node)
        if isinstance(operation, Convolution) and node.inputs[0] in family and node.output in family:
            _widen_for(graph, node, isa, widen)
    return {
        key: Grid(width[key], round_up(rows * width[key] + columns, CACHE_LINE_FLOATS))
        for key, (rows, columns) in margin.items()
    }


def reads_tight(graph: Graph, node: Node, isa: InstructionSet) -> bool:
    """Whether a node is a convolution in words that reads an image for each column of its kernel."""
    return graph.values[node.inputs[0]].dtype != "float32" and _wants_no_gaps(graph, node, isa)


def _wants_no_gaps(graph: Graph, node: Node, isa: InstructionSet) -> bool:
    convolution = layer_of(node)
    if not isinstance(convolution, Convolution):
        return False
    shape = graph.weights[convolution.weight].shape
    words = graph.values[node.inputs[0]].dtype != "float32"
    if is_depthwise(graph, node) and (words or convolution.stride != (1, 1)):
        return False
    if words and isa.has_amx:  # tiles are so fast that images would take longer than the lanes of gaps
        return False
    return lies_without_gaps((shape[2], shape[3]), _positions(graph.shape(node.output)), isa.lanes, words)


def _widen_for(graph: Graph, node: Node, isa: InstructionSet, widen: Callable[..., None]) -> None:
    """Make room for every shift of a convolution on the grid of the planes that its taps read.

    That is before the planes, and in gaps unless the layer wants none. The grid is the output's, which the input or its
    phase images share, but for strided kernels without such images.
    """
    convolution = layer_of(node)
    assert isinstance(convolution, Convolution)
    read, written = _positions(graph.shape(node.inputs[0])), _positions(graph.shape(node.output))
    kernel = tuple(graph.weights[convolution.weight].shape[2:])
    if is_depthwise(graph, node) and convolution.stride != (1, 1):
        widen(node.inputs[0], read[1], *strided_margins(convolution, (kernel[0], kernel[1]), read, written))
        return
    tight = reads_tight(graph, node, isa)
    all_taps = taps(convolution, (kernel[0], kernel[1]), tight)
    rows, columns = margins(all_taps, read, convolution.stride, written, tight)
    width = written[1] if tight else phase_size(read, convolution.stride)[1]
    widen(node.output, width, rows, columns, not _wants_no_gaps(graph, node, isa))
