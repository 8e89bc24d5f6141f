"""The whole way from a network to a deployment."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from spokeshave.batch import BatchAxes
from spokeshave.compiler.build import Compiler, build_library, find_compiler
from spokeshave.compiler.dynamic import Dynamic
from spokeshave.compiler.exports import Axes, Exports
from spokeshave.compiler.following import following, following_selectors
from spokeshave.compiler.generated import Generated
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.importer import import_program
from spokeshave.compiler.isa import InstructionSet, instruction_set, why_not_here
from spokeshave.compiler.native import NativeDeployment
from spokeshave.compiler.network_cache import cached_network, keep_network, network_key
from spokeshave.compiler.operations import Convolution, Linear, Recurrent, SelectedLinear
from spokeshave.compiler.passes.leave_out_unread import leave_out_unread
from spokeshave.compiler.passes.pipeline import optimise
from spokeshave.compiler.quantization.bfloat16 import BFloat16
from spokeshave.compiler.quantization.calibrate import Replayed, Sample, batch_first, samples_of
from spokeshave.compiler.quantization.choose import Int8
from spokeshave.compiler.stages import Precision, generate_from_graph
from spokeshave.compiler.tuner import Progress, Tuner
from spokeshave.compiler.verify import verify
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.processor import cpu_name
from spokeshave.schemes.scheme import Packed, Scheme, as_matrix

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
    the example's, and shorter ones take less time; such a network is compiled whole. So is one that selects tokens by
    their scores (`spokeshave.token_selection`): what is behind runs on as many as are left. A network that was compiled
    before, with equal weights, settings and calibration data, comes from the user's cache folder. Raises
    SpokeshaveError when the network cannot be exported, a weight does not lie in its scheme, this CPU lacks the
    instruction set, or there is no C compiler.
    """
    reason = why_not_here(instruction_set(isa))
    if reason is not None:
        raise SpokeshaveError(f"{isa} cannot run here: {reason}")
    compiler = compiler or find_compiler()
    tuner = Tuner(instruction_set(isa), compiler, threads, progress) if tune else None
    settings = precision_settings(precision, calibration)
    built = generate_once(network, example, plan, isa, tuner, settings, dynamic, compiler)
    deployment = NativeDeployment(*built)
    deployment.threads = threads
    return deployment


def generate_once(
    network: Any,
    example: Tensor | tuple[Any, ...],
    plan: Plan | None = None,
    isa: str | None = None,
    tuner: Tuner | None = None,
    precision: Precision | None = None,
    dynamic: Dynamic | None = None,
    compiler: Compiler | None = None,
) -> tuple[Generated, Path]:
    """A network's C and its library, from the cache where the same was compiled before; arguments as of `generate`.

    Its batch is looked for where it is new: that takes longer than to export it. Until then it counts as being in
    front of every input, and where it is not, what is cut by it, calibration data and lengths, is looked up again.
    """
    compiler = compiler or find_compiler()
    exports = Exports(network, example)
    if isinstance(precision, Int8):  # its data are read more than once, and may be a stream
        precision = replace(precision, calibration=Replayed(precision.calibration))
    request = _Request(plan, instruction_set(isa), tuner, precision, dynamic)
    front = BatchAxes((0,) * len(exports.shapes), None)
    key = _key(exports, front, request, compiler)
    generated = cached_network(key) if key else None
    if generated is None and (key is None or (request.cuts_samples and not exports.batch.in_front)):
        key = _key(exports, exports.batch, request, compiler)
        generated = cached_network(key) if key else None
    if generated is not None:
        return generated, build_library(generated.source, request.isa, compiler)
    built = build(_generate(exports, request), compiler)
    if key is not None:
        keep_network(key, *built)
    return built


def _key(exports: Exports, batch: BatchAxes, request: "_Request", compiler: Compiler) -> str | None:
    """The key of a network in the cache; None where it cannot be exported so, which generating it explains."""
    rules = request.plan.to_yaml() if request.plan is not None else None
    timed = (cpu_name(), request.tuner.threads) if request.tuner else None
    precision = request.precision
    if isinstance(precision, Int8):  # its data are digested, not described
        precision = replace(precision, calibration=())
    settings = (batch, exports.shapes, rules, request.isa.name, timed, request.dynamic, precision)
    try:
        programs = exports.deciding(request.dynamic, batch.inputs)
        samples = _calibration(request.precision, batch.inputs)
    except SpokeshaveError:
        return None
    return network_key(programs, compiler, settings, samples)


def _calibration(precision: Precision | None, axes: Axes) -> list[Sample]:
    """The samples that int8 is calibrated on."""
    if not isinstance(precision, Int8):
        return []
    return samples_of(batch_first(precision.calibration, axes), precision.samples)


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
    return _generate(
        Exports(network, example), _Request(plan, instruction_set(isa), tuner, precision, dynamic)
    )


@dataclass(frozen=True)
class _Request:
    """How a network is to be compiled."""

    plan: Plan | None
    isa: InstructionSet
    tuner: Tuner | None
    precision: Precision | None
    dynamic: Dynamic | None

    @property
    def cuts_samples(self) -> bool:
        """Whether what is compiled depends on data or lengths that are read by where the batch is."""
        return bool(self.dynamic) or isinstance(self.precision, Int8)


def _generate(exports: Exports, request: _Request) -> Generated:
    axes = exports.batch
    imported = import_program(exports.program(axes.inputs), axes)
    graph = optimise(imported.graph)
    schemes = request.plan.resolve(exports.network) if request.plan is not None else {}
    packed = pack_planned(graph, imported.graph, schemes)
    precision = request.precision
    if isinstance(precision, Int8):
        precision = replace(precision, calibration=batch_first(precision.calibration, axes.inputs))
    structure = imported.structure.to_json()
    if request.dynamic:
        graph, extents, lengths = following(exports, request.dynamic)
    else:
        graph, extents, lengths = following_selectors(exports, graph), (), ()
    graph = verify(leave_out_unread(graph))
    generated = generate_from_graph(graph, structure, packed, request.isa, request.tuner, precision)
    manifest = replace(
        generated.manifest,
        input_axes=axes.inputs,
        dynamic=extents,
        lengths=tuple(length.name for length in lengths),
        capacity=tuple(length.greatest for length in lengths),
    )
    return replace(generated, manifest=manifest)


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
