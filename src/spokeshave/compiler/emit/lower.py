"""Graph -> Program: one lowering function an operation, and the reason why a node cannot be lowered."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod

from spokeshave.compiler.count import greatest
from spokeshave.compiler.emit import (
    attention,
    bfloat16,
    matrix,
    pointwise,
    products,
    quantized,
    recurrent,
    reduction,
    selected,
    shapes,
    tokens,
)
from spokeshave.compiler.emit.bands import SLIDING, Run, Zeros, clear_margins, find_runs
from spokeshave.compiler.emit.layouts import choose_layouts
from spokeshave.compiler.emit.lowering import Lowering, LoweringFunction, ReasonFunction, zero_pattern
from spokeshave.compiler.emit.program import Port, Program
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.operations import (
    Activate,
    Affine,
    Attention,
    Binary,
    Concatenate,
    Constant,
    Convert,
    Convolution,
    Dequantize,
    Embedding,
    Expand,
    Foreign,
    GroupNorm,
    Interleave,
    LayerNorm,
    Linear,
    MatMul,
    Mean,
    Pad,
    Patches,
    Permute,
    Pool,
    Quantize,
    Quantized,
    QuantizedPool,
    QuantizedRecurrent,
    QuantizedSelected,
    Recurrent,
    Reshape,
    RMSNorm,
    Round,
    Rounded,
    SelectedLinear,
    SelectTokens,
    Slice,
    Softmax,
    Sum,
    Take,
    TopK,
    Where,
    Widen,
)
from spokeshave.compiler.schedule import Chooser, schedule_for
from spokeshave.schemes.scheme import Packed

LOWERINGS: dict[type, LoweringFunction] = {
    Convolution: matrix.lower_convolution,
    Linear: matrix.lower_linear,
    Activate: pointwise.lower_activate,
    Affine: pointwise.lower_affine,
    Binary: pointwise.lower_binary,
    Pool: reduction.lower_pool,
    Mean: reduction.lower_sum,
    Sum: reduction.lower_sum,
    RMSNorm: reduction.lower_rms_norm,
    Softmax: reduction.lower_softmax,
    LayerNorm: reduction.lower_layer_norm,
    GroupNorm: reduction.lower_group_norm,
    Recurrent: recurrent.lower_recurrent,
    QuantizedPool: reduction.lower_quantized_pool,
    QuantizedRecurrent: recurrent.lower_quantized_recurrent,
    Reshape: shapes.lower_reshape,
    Permute: shapes.lower_permute,
    Slice: shapes.lower_slice,
    Pad: shapes.lower_pad,
    Patches: shapes.lower_patches,
    Interleave: shapes.lower_interleave,
    Concatenate: shapes.lower_concatenate,
    Quantize: quantized.lower_quantize,
    Dequantize: quantized.lower_dequantize,
    Quantized: quantized.lower_quantized,
    Round: bfloat16.lower_round,
    Widen: bfloat16.lower_widen,
    Rounded: bfloat16.lower_rounded,
    Attention: attention.lower_attention,
    SelectTokens: tokens.lower_select_tokens,
    Take: tokens.lower_take,
    Expand: tokens.lower_expand,
    Embedding: tokens.lower_embedding,
    Convert: tokens.lower_convert,
    Where: tokens.lower_where,
    Constant: tokens.lower_constant,
    MatMul: products.lower_matmul,
    SelectedLinear: selected.lower_selected_linear,
    QuantizedSelected: selected.lower_quantized_selected,
    TopK: products.lower_top_k,
}

REASONS: dict[type, ReasonFunction] = {
    Convolution: matrix.convolution_reason,
    Binary: pointwise.binary_reason,
    Pool: reduction.pool_reason,
    QuantizedPool: reduction.pool_reason,
    Mean: reduction.sum_reason,
    Sum: reduction.sum_reason,
    RMSNorm: reduction.rms_norm_reason,
    Softmax: reduction.softmax_reason,
    LayerNorm: reduction.layer_norm_reason,
    GroupNorm: reduction.group_norm_reason,
    Reshape: shapes.reshape_reason,
    Permute: shapes.shape_reason,
    Slice: shapes.shape_reason,
    Pad: shapes.shape_reason,
    Concatenate: shapes.shape_reason,
    Attention: attention.attention_reason,
    Where: tokens.where_reason,
    MatMul: products.matmul_reason,
}

# Operations that write only the true elements of planes, never the gaps between them.


WRITE_TRUE_ELEMENTS_ONLY = (
    Attention,
    Concatenate,
    Constant,
    Convert,
    Embedding,
    Expand,
    Interleave,
    MatMul,
    Pad,
    Patches,
    Permute,
    Pool,
    QuantizedPool,
    QuantizedRecurrent,
    QuantizedSelected,
    Recurrent,
    Reshape,
    SelectedLinear,
    SelectTokens,
    Slice,
    Take,
)


COMPILED_TYPES = ("float32", "bfloat16", "uint8", "int64")


def supports(node: Node, graph: Graph) -> str | None:
    """None when the node can be compiled, else the reason why not."""
    if isinstance(node.operation, Foreign):
        return node.operation.reason
    values = [graph.values[name] for name in (*node.inputs, *node.outputs)]
    if any(value.dtype not in COMPILED_TYPES for value in values):
        return "only float32 values, and whole numbers as inputs, are compiled"
    if any(value.shape[:1] != (1,) for value in values):
        return "its first axis is not the batch"
    if any(0 in value.shape for value in values):
        return "an empty value has no kernel"
    if any(len(value.shape) - 1 > shapes.MOST_AXES or len(value.shape) < 2 for value in values):
        return f"values of rank {max(len(value.shape) for value in values)} are not compiled"
    return REASONS.get(type(node.operation), lambda graph, node: None)(graph, node)


def lower(
    graph: Graph,
    isa: InstructionSet,
    packed: Mapping[str, Packed],
    choose: Chooser | None = None,
    runs: Sequence[Run] | None = None,
) -> Program:
    """Turn a graph whose every node `supports` allows into a program; `choose` gives products their schedules.

    `runs` of layers go band by band; by default those for which that is worth it.
    """
    lowering = _begin(graph, isa, packed, choose)
    for index, name in enumerate(graph.inputs):
        stays = shapes.stays_with_caller(graph, name, lowering.layouts)
        if graph.values[name].dtype == "float32" and not stays:
            shapes.lower_input(lowering, name, index)
            lowering.finish_step("", "input")
        else:
            lowering.ports[name] = Port("in", index)
    stages = _begin_runs(lowering, find_runs(graph, lowering.layouts, isa) if runs is None else runs)
    direct = {
        name: Port("out", i) for i, name in enumerate(graph.outputs) if shapes.made_for_caller(graph, name)
    }
    lowering.ports |= direct
    for node in graph.nodes:
        run, lowering.done, zeros = stages.get(id(node), (0, (), Zeros()))
        if zeros != Zeros():
            clear_margins(lowering, node.output, zeros)
        LOWERINGS[type(node.operation)](lowering, node)
        lowering.finish_step(node.layer, type(node.operation).__name__, run)
    lowering.done = ()
    for index, name in enumerate(graph.outputs):
        if name not in direct:
            shapes.lower_output(lowering, name, index)
            lowering.finish_step("", "output")
    return lowering.program(_floats(graph, graph.inputs), _floats(graph, graph.outputs))


def lower_alone(
    graph: Graph, node: Node, isa: InstructionSet, packed: Mapping[str, Packed], choose: Chooser
) -> Program:
    """The step of one node on the layouts that the graph gives it, at the greatest lengths; it reads whatever its
    buffers hold."""
    lowering = _begin(graph, isa, packed, choose)
    LOWERINGS[type(node.operation)](lowering, node)
    lowering.finish_step(node.layer, type(node.operation).__name__)
    sizes = (size for value in graph.values.values() for size in value.shape)
    return replace(lowering.program((), ()), found=0, constant=greatest(sizes))


def _begin(
    graph: Graph, isa: InstructionSet, packed: Mapping[str, Packed], choose: Chooser | None
) -> Lowering:
    patterns = dict.fromkeys(graph.inputs, "copied")
    patterns |= {name: _pattern(node) for node in graph.nodes for name in node.outputs}
    return Lowering(
        graph=graph,
        isa=isa,
        layouts=choose_layouts(graph, isa),
        packed=packed,
        choose=choose or partial(schedule_for, isa=isa),
        patterns=patterns,
    )


def _begin_runs(lowering: Lowering, runs: Sequence[Run]) -> dict[int, tuple[int, tuple[int, ...], Zeros]]:
    """Gives the values within runs of layers their sliding planes. For each node of a run, by identity: the run's
    number, what is done after each band, and the zeros that its reader needs around it."""
    stages = {}
    for number, run in enumerate(runs, 1):
        lowering.layouts = {**lowering.layouts, **run.planes}
        lowering.patterns = {**lowering.patterns, **dict.fromkeys(run.planes, SLIDING)}
        for stage in run.stages:
            stages[id(stage.node)] = number, stage.done, run.zeros.get(stage.node.output, Zeros())
    return stages


def _pattern(node: Node) -> str:
    """How the node's output is written: memory is shared only between values written alike."""
    around = zero_pattern(quantized.zero_point(node.operation))
    if isinstance(node.operation, WRITE_TRUE_ELEMENTS_ONLY) and not around:
        return "copied"
    return around


def _floats(graph: Graph, names: tuple[str, ...]) -> tuple[int, ...]:
    """Sizes in floats; a whole number takes the room of two."""
    return tuple(prod(graph.shape(name)) * (1 + (graph.values[name].dtype == "int64")) for name in names)
