"""The whole way from a network to a deployment."""

import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils._pytree import tree_unflatten

from spokeshave.batch import BatchAxes, find_batch_axes
from spokeshave.compiler.build import Compiler, build_library, find_compiler
from spokeshave.compiler.dynamic import Dynamic, Extent, Length, follow_lengths, lengths_of, resized
from spokeshave.compiler.emit.arena import Arena, plan_arena
from spokeshave.compiler.emit.lower import lower, supports
from spokeshave.compiler.emit.program import Program, Step
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.generated import Generated
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.importer import Imported, import_program
from spokeshave.compiler.isa import InstructionSet, instruction_set, why_not_here
from spokeshave.compiler.manifest import ForeignStage, Manifest, SegmentStage, Stage, StepRecord, ValueRecord
from spokeshave.compiler.native import NativeDeployment
from spokeshave.compiler.network_cache import cached_network, keep_network, network_key
from spokeshave.compiler.operations import Convolution, Linear, Recurrent, SelectedLinear
from spokeshave.compiler.passes.eliminate_dead import weight_names
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.quantization.bfloat16 import BFloat16, to_bfloat16
from spokeshave.compiler.quantization.calibrate import batch_first
from spokeshave.compiler.quantization.choose import Int8, lower_precision
from spokeshave.compiler.quantization.record import LayerPrecision
from spokeshave.compiler.schedule import Chooser
from spokeshave.compiler.segments import cut
from spokeshave.compiler.tuner import Progress, Tuner
from spokeshave.errors import SpokeshaveError
from spokeshave.export import export_network, one_sample
from spokeshave.nesting import flattened
from spokeshave.plan import Plan
from spokeshave.processor import cpu_name
from spokeshave.schemes.scheme import Packed, Scheme, as_matrix

Precision = BFloat16 | Int8
PRECISIONS = ("float32", "bfloat16", "int8")


def compile_network(
    network: Any,
    example: Tensor | tuple[Any, ...],
    plan: Plan | None = None,
    isa: str | None = None,
    compiler: Compiler | None = None,
    *,
    threads: int = 1,
    tune: bool = False,
    progress: Progress | None = None,
    precision: str = "float32",
    calibration: Iterable[Any] | None = None,
    dynamic: Dynamic | None = None,
) -> NativeDeployment:
    """Compile a network (or an exported program) for this CPU, or for a lesser instruction set of it.

    `example` is one batch of inputs, of which the first sample is used. Zeros in the weights are never computed
    with; `plan` tells the kernels which blocks they came from. `threads` is the deployment's property of that name.
    With `tune`, schedules are timed on this machine with that many threads, or taken from the user's cache folder
    where they were timed before; `progress` is told how many of how many layers are done, and the next. `precision`
    is float32; or bfloat16 (inputs and weights of convolutions and linear layers, with float32 sums; of recurrent
    layers and single vectors, the weights alone); or int8 with
    `calibration`: a few batches, each a tensor of inputs or a tuple that begins with them; layers that cost too much
    accuracy there stay float32 (`Int8` says how much; the manifest which). `dynamic` names axes whose length may
    change from call to call, `{input: axis}`, or `{length: {input: axis}}` where there are several lengths, as
    `{"tokens": {"ids": 1}, "past": {"cache_*": 2}}`; inputs by name, pattern or position. Every length is from 1 to
    the example's, and shorter ones take less time; such a network is compiled whole. A network that was compiled
    before, with equal weights and settings, comes from the user's cache folder (not int8, nor with `dynamic`). Raises
    SpokeshaveError when the network cannot be exported, a weight does not lie in its scheme, this CPU lacks the
    instruction set, or there is no C compiler.
    """
    reason = why_not_here(instruction_set(isa))
    if reason is not None:
        raise SpokeshaveError(f"{isa} cannot run here: {reason}")
    compiler = compiler or find_compiler()
    tuner = Tuner(instruction_set(isa), compiler, threads, progress) if tune else None
    settings = precision_settings(precision, calibration)
    if dynamic or isinstance(settings, Int8):
        built = build(generate(network, example, plan, isa, tuner, settings, dynamic), compiler)
    else:
        built = _generate_once(network, example, plan, instruction_set(isa), tuner, settings, compiler)
    deployment = NativeDeployment(*built)
    deployment.threads = threads
    return deployment


def _generate_once(
    network: Any,
    example: Tensor | tuple[Any, ...],
    plan: Plan | None,
    isa: InstructionSet,
    tuner: Tuner | None,
    precision: Precision | None,
    compiler: Compiler,
) -> tuple[Generated, Path]:
    """Generate and build a network, or take it from the cache where the same one was compiled before.

    Its batch is looked for where it is new alone: that takes longer than to export it.
    """
    rules = plan.to_yaml() if plan is not None else None
    timed = (cpu_name(), tuner.threads) if tuner else None
    program = _exported_in_front(network, example)
    axes = None if program is not None else find_batch_axes(network, example)
    program = program or export_network(network, example, axes.inputs if axes else None)
    shapes = tuple(
        tuple(tensor.shape) for tensor in flattened(example)[0]
    )  # steps, where the batch is second
    key = network_key(program, compiler, (axes, shapes, rules, isa.name, timed, precision))
    generated = cached_network(key)
    if generated is not None:
        return generated, build_library(generated.source, isa, compiler)
    axes = axes or find_batch_axes(network, example)
    program = program if axes.in_front else export_network(network, example, axes.inputs)
    imported = import_program(program, axes)
    built = build(_generate(imported, axes, program, plan, isa, tuner, precision), compiler)
    keep_network(key, *built)
    return built


def _exported_in_front(network: Any, example: Tensor | tuple[Any, ...]) -> ExportedProgram | None:
    """The network's first sample along the first axis of every input; None where it does not run so."""
    try:
        return export_network(network, example)
    except SpokeshaveError:
        return None


def generate(
    network: Any,
    example: Tensor | tuple[Any, ...],
    plan: Plan | None = None,
    isa: str | None = None,
    tuner: Tuner | None = None,
    precision: Precision | None = None,
    dynamic: Dynamic | None = None,
) -> Generated:
    """Turn a network into C for any instruction set, this CPU's or another's; arguments as of `compile_network`.

    `precision` is None for float32.
    """
    axes = find_batch_axes(network, example)
    imported = import_program(export_network(network, example, axes.inputs), axes)
    if not dynamic:
        return _generate(imported, axes, network, plan, instruction_set(isa), tuner, precision)
    graph, extents, lengths = following(network, example, dynamic, axes)
    generated = _generate(imported, axes, network, plan, instruction_set(isa), tuner, precision, graph)
    names, capacity = tuple(length.name for length in lengths), tuple(length.greatest for length in lengths)
    manifest = replace(generated.manifest, dynamic=extents, lengths=names, capacity=capacity)
    return replace(generated, manifest=manifest)


def _generate(
    imported: Imported,
    axes: BatchAxes,
    network: Any,
    plan: Plan | None,
    isa: InstructionSet,
    tuner: Tuner | None,
    precision: Precision | None,
    followed: Graph | None = None,
) -> Generated:
    """Turn an imported network into C; `followed` is its optimised graph with the sizes that change."""
    graph = optimise(imported.graph)
    schemes = plan.resolve(network) if plan is not None else {}
    packed = pack_planned(graph, imported.graph, schemes)
    if isinstance(precision, Int8):
        precision = replace(precision, calibration=batch_first(precision.calibration, axes.inputs))
    structure = imported.structure.to_json()
    generated = generate_from_graph(followed or graph, structure, packed, isa, tuner, precision)
    return replace(generated, manifest=replace(generated.manifest, input_axes=axes.inputs))


def following(
    network: Any, example: Tensor | tuple[Any, ...], dynamic: Dynamic, axes: BatchAxes
) -> tuple[Graph, tuple[Extent, ...], tuple[Length, ...]]:
    """A network's graph with its changing sizes, the axes of inputs and outputs that change, and the lengths."""
    inputs, nesting = flattened(one_sample(example, axes.inputs))
    names = export_network(network, example, axes.inputs).graph_signature.user_inputs
    lengths = lengths_of([str(name) for name in names], inputs, dynamic, axes.inputs)

    def at(sizes: tuple[int, ...]) -> Graph:
        given = tree_unflatten(resized(inputs, lengths, sizes), nesting)
        return optimise(import_program(export_network(network, given, axes.inputs), axes).graph)

    marked, extents = follow_lengths(at, lengths)
    for node in marked.nodes:
        reason = supports(node, marked)
        if reason is not None:
            raise SpokeshaveError(
                f"layer {node.layer!r} is not compiled ({reason}), so its length cannot change"
            )
    return marked, extents, lengths


def generate_from_graph(
    graph: Graph,
    structure: dict[str, Any],
    packed: dict[str, Packed],
    isa: InstructionSet,
    tuner: Tuner | None = None,
    precision: Precision | None = None,
) -> Generated:
    """Turn an optimised graph into C; `structure` nests its outputs and `packed` holds planned weights by name."""
    layers: tuple[LayerPrecision, ...] = ()
    pieces = cut(graph, supports)
    if isinstance(precision, BFloat16):
        pieces, layers = to_bfloat16(pieces, isa)
    if isinstance(precision, Int8):
        pieces, layers = lower_precision(graph, pieces, precision, isa)
    segments = [piece for piece in pieces if isinstance(piece, Graph)]
    choose = tuner.tune(segments, packed) if tuner else None
    lowered = _lower_stages(graph, pieces, isa, packed, choose)
    tensors = _tensors(graph, lowered)
    manifest = Manifest(
        isa=isa.name,
        machine=isa.machine or platform.machine(),
        system=platform.system(),
        compiler="",
        inputs=tuple(_record(graph, name) for name in graph.inputs),
        outputs=graph.outputs,
        structure=structure,
        values=tuple(_record(graph, name) for name in sorted(lowered.crossing)),
        stages=lowered.stages,
        weight_bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        precision=type(precision).__name__.lower() if precision is not None else "float32",
        layers=layers,
    )
    return Generated(manifest, emit_source(lowered.programs, lowered.arenas, isa), tensors)


def precision_settings(precision: str, calibration: Iterable[Any] | None) -> Precision | None:
    """None for float32; raises SpokeshaveError for an unknown precision, or int8 without calibration data."""
    if precision not in PRECISIONS:
        raise SpokeshaveError(f"there is no precision {precision!r}; known ones are {', '.join(PRECISIONS)}")
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return BFloat16()
    if calibration is None:
        raise SpokeshaveError("int8 needs calibration data: a few batches of the network's inputs")
    return Int8(calibration)


def build(generated: Generated, compiler: Compiler | None = None) -> tuple[Generated, Path]:
    """Build the library of a network whose instruction set is one of this machine's architecture.

    Returns the network with its compiler on record, and the library. Raises SpokeshaveError where that fails.
    """
    compiler = compiler or find_compiler()
    manifest = replace(generated.manifest, compiler=compiler.version)
    library = build_library(generated.source, instruction_set(manifest.isa), compiler)
    return replace(generated, manifest=manifest), library


def pack_planned(graph: Graph, imported: Graph, schemes: dict[str, Scheme]) -> dict[str, Packed]:
    """Each planned weight in its scheme's packed form, as it was before a batch norm was folded into it.

    Folding scales rows: it keeps the zeros, which is what kernels are told, but no levels. A weight that the network
    holds the other way round is left out: kernels then find its zeros by themselves.
    """
    packed = {}
    for weight, parameter in (pair for node in graph.nodes for pair in _planned(node)):
        source = imported.weights.get(parameter, graph.weights[weight])
        if parameter in schemes and _has_zeros_of(graph.weights[weight], source):
            packed[weight] = schemes[parameter].pack(source)
    return packed


def _has_zeros_of(weight: Tensor, source: Tensor) -> bool:
    """Whether a weight, as a matrix, is zero wherever its source is."""
    matrix, wanted = as_matrix(weight), as_matrix(source)
    return matrix.shape == wanted.shape and not matrix[wanted == 0].any()


def _planned(node: Node) -> tuple[tuple[str, str], ...]:
    """The weights of a node that a plan may name, each with the parameter it comes from."""
    operation = node.operation
    if isinstance(operation, Convolution | Linear):
        return ((operation.weight, f"{node.layer}.weight"),)
    if isinstance(operation, SelectedLinear):
        return ((operation.weight, operation.weight),)
    if isinstance(operation, Recurrent):
        return tuple((name, name) for name in (operation.input_weight, operation.hidden_weight))
    return ()


@dataclass(frozen=True)
class _Lowered:
    """Stages in order; the programs and arenas of the compiled ones."""

    stages: tuple[Stage, ...]
    programs: tuple[Program, ...]
    arenas: tuple[Arena, ...]
    crossing: frozenset[str]


def _lower_stages(
    graph: Graph,
    pieces: tuple[Graph | Node, ...],
    isa: InstructionSet,
    packed: dict[str, Packed],
    choose: Chooser | None,
) -> _Lowered:
    stages: list[Stage] = []
    programs: list[Program] = []
    arenas: list[Arena] = []
    crossing: set[str] = set()
    for piece in pieces:
        if isinstance(piece, Node):
            stages.append(_foreign_stage(graph, piece))
        else:
            programs.append(lower(piece, isa, packed, choose))
            arenas.append(plan_arena(programs[-1]))
            stages.append(_segment_stage(len(programs) - 1, piece, programs[-1], arenas[-1]))
        crossing.update(stages[-1].inputs, stages[-1].outputs)
    return _Lowered(tuple(stages), tuple(programs), tuple(arenas), frozenset(crossing))


def _segment_stage(index: int, graph: Graph, program: Program, arena: Arena) -> SegmentStage:
    steps = tuple(_step_record(step) for step in program.steps)
    constants = tuple(program.constants)
    return SegmentStage(index, graph.inputs, graph.outputs, arena.floats, arena.together, constants, steps)


def _step_record(step: Step) -> StepRecord:
    kernels = ", ".join(call.kernel.name for call in step.calls if call.kernel)
    schedule = next((call.schedule for call in step.calls if call.schedule), None)
    return StepRecord(step.layer, step.operation, kernels, schedule)


def _foreign_stage(graph: Graph, node: Node) -> ForeignStage:
    return ForeignStage(node.layer, node.inputs, node.outputs, node.operation, supports(node, graph) or "")


def _tensors(graph: Graph, lowered: _Lowered) -> dict[str, Tensor]:
    """Packed constants, weights that foreign operators read, and weights that are outputs themselves."""
    tensors = {
        name: torch.from_numpy(array)
        for program in lowered.programs
        for name, array in program.constants.items()
    }
    named = set(graph.outputs)
    for node in graph.nodes:
        if supports(node, graph) is not None:
            named |= weight_names(node, graph)
    for name in named.intersection(graph.weights):
        tensors[name] = graph.weights[name].detach().clone()
    return tensors


def _record(graph: Graph, name: str) -> ValueRecord:
    value = graph.values[name]
    return ValueRecord(name, tuple(int(size) for size in value.shape), value.dtype)
