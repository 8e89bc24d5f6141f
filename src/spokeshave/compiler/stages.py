"""From an optimised graph to C and its manifest: stages, compiled or left to PyTorch."""

import platform
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spokeshave.compiler.emit.arena import Arena, plan_arena
from spokeshave.compiler.emit.lower import lower, supports
from spokeshave.compiler.emit.program import Program, Step
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.following import adaptive
from spokeshave.compiler.generated import Generated
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet
from spokeshave.compiler.manifest import ForeignStage, Manifest, SegmentStage, Stage, StepRecord, ValueRecord
from spokeshave.compiler.passes.eliminate_dead import weight_names
from spokeshave.compiler.quantization.bfloat16 import BFloat16, to_bfloat16
from spokeshave.compiler.quantization.choose import Int8, lower_precision
from spokeshave.compiler.quantization.record import LayerPrecision
from spokeshave.compiler.schedule import Chooser
from spokeshave.compiler.segments import cut
from spokeshave.compiler.tuner import Tuner
from spokeshave.schemes.scheme import Packed

Precision = BFloat16 | Int8


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
        selectors=tuple(selector.name for _, selector in adaptive(graph)),
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
