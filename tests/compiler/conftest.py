"""Running a hand-made graph through the back end alone."""

import ctypes
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from spokeshave.compiler.artifact import run_as_c, why_not_checked
from spokeshave.compiler.build import build_library, load_library
from spokeshave.compiler.emit.arena import plan_arena
from spokeshave.compiler.emit.lower import lower, supports
from spokeshave.compiler.emit.program import Program
from spokeshave.compiler.emit.source import emit_source
from spokeshave.compiler.graph import Graph
from spokeshave.compiler.isa import InstructionSet, instruction_set, instruction_sets, runs_here
from spokeshave.compiler.stages import generate_from_graph

INTEGER_ISAS = [name for name, isa in instruction_sets().items() if runs_here(isa)]
# Float code is the same for all instruction sets of one march.
ISAS = list({instruction_set(name).march: name for name in INTEGER_ISAS}.values())
EMULATED = [pytest.param("neon", marks=pytest.mark.slow)]
EMULATED_INTEGERS = [*EMULATED, pytest.param("neon_i8mm", marks=pytest.mark.slow)]
THREADS = 3


def run_back_end(graph: Graph, inputs: list[Tensor], isa: str | None = None, packed=None) -> list[Tensor]:
    """Lower, emit, build and run a graph; every node must be supported; threads must not change a bit."""
    for node in graph.nodes:
        assert supports(node, graph) is None
    chosen = instruction_set(isa)
    return run_program(lower(graph, chosen, packed or {}), graph, inputs, chosen)


def run_program(program: Program, graph: Graph, inputs: list[Tensor], isa: InstructionSet) -> list[Tensor]:
    """Emit, build and run the program of a graph; threads must not change a bit."""
    arena = plan_arena(program)
    # -O1 builds faster; whole networks are tested as they are shipped, with -O3.
    library = load_library(build_library(emit_source([program], [arena], isa), isa, flags=("-O1",)))
    memory = torch.zeros(THREADS * arena.floats)
    constants = [torch.from_numpy(array) for array in program.constants.values()]

    def run(threads: int) -> list[Tensor]:
        outputs = [torch.full((len(inputs[0]), *graph.shape(name)[1:]), torch.nan) for name in graph.outputs]
        library.segment_0(
            _pointers(constants),
            ctypes.c_void_p(memory.data_ptr()),
            _pointers([tensor.contiguous() for tensor in inputs]),
            _pointers(outputs),
            ctypes.c_long(len(inputs[0])),
            None,
            threads,
        )
        return outputs

    outputs = run(1)
    for threads in (1, THREADS):  # these find what the first run left in the arena
        for again, before in zip(run(threads), outputs, strict=True):
            torch.testing.assert_close(again, before, rtol=0, atol=0, equal_nan=True)
    return outputs


def _pointers(tensors: list[Tensor]) -> ctypes.Array:
    return (ctypes.c_void_p * max(1, len(tensors)))(*(tensor.data_ptr() for tensor in tensors))


def run_foreign(graph: Graph, inputs: list[Tensor], isa: str, packed=None) -> list[Tensor]:
    """The same for another kind of CPU: as plain C, built by a cross compiler and run under an emulator."""
    structure = {"layout": {"tuple": ["tensor"] * len(graph.outputs)}, "places": []}
    generated = generate_from_graph(graph, structure, packed or {}, instruction_set(isa))
    return list(run_as_c(generated, inputs, ("-O1", "-Wall", "-Wextra", "-Werror")).outputs)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`isa` and `integer_isa` are those of this CPU, and what an emulator runs where only the back end is tested."""
    names = metafunc.fixturenames
    emulated = EMULATED if "back_end" in names else []
    if "isa" in names:
        metafunc.parametrize("isa", ISAS + emulated)
    elif "integer_isa" in names:
        metafunc.parametrize("integer_isa", INTEGER_ISAS + (EMULATED_INTEGERS if emulated else []))
    elif emulated:
        metafunc.parametrize("back_end", [None, *emulated], indirect=True)


@pytest.fixture
def back_end(request: pytest.FixtureRequest) -> Callable:
    """Runs a graph: a function of graph, inputs, instruction set (else this CPU's best) and packed weights."""
    default = getattr(request, "param", None)

    def run(graph: Graph, inputs: list[Tensor], isa: str | None = default, packed=None) -> list[Tensor]:
        if isa is None or runs_here(instruction_set(isa)):
            return run_back_end(graph, inputs, isa, packed)
        reason = why_not_checked(instruction_set(isa))
        if reason is not None:
            pytest.skip(reason)
        return run_foreign(graph, inputs, isa, packed)

    return run
