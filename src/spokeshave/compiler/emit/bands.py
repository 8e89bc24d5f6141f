"""Neighbouring layers over large maps run band by band, so that what lies between them stays in the level-2 cache.

In every band each layer of a run computes as many lanes more as the next one needs. Between two of them only a window
of lanes is alive at any time, so the planes of such a map *slide* (`Planes.slides`): they lie no further apart than
the window is long, and lane l of one plane has the address that lane l - plane of the next one had, which nobody needs
any more. All addresses stay linear: kernels, taps and masks are those of whole maps, begun further on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from spokeshave.compiler.count import Count
from spokeshave.compiler.emit.depthwise import is_depthwise
from spokeshave.compiler.emit.lowering import Lowering
from spokeshave.compiler.emit.pairs import is_max_of_pairs
from spokeshave.compiler.emit.program import AROUND, UNITS, Along, Call, Place
from spokeshave.compiler.emit.taps import taps
from spokeshave.compiler.emit.winograd import is_cheaper
from spokeshave.compiler.emit.words import planes_of
from spokeshave.compiler.graph import Graph, Node
from spokeshave.compiler.isa import InstructionSet, level_two_cache_bytes
from spokeshave.compiler.layout import CACHE_LINE_FLOATS, FLOAT_BYTES, Layout, Planes
from spokeshave.compiler.operations import Convolution, Pool

SLIDING = f"sliding{AROUND}margins of their own"  # the pattern of buffers of sliding planes
CACHE_SHARE = 0.85
LEAST_VECTORS = 24  # of lanes in a band: with fewer, weights and epilogues cost more than the cache saves
MOST_ROWS = 16


@dataclass(frozen=True)
class Margins:
    """Lanes before and behind a lane that a layer reads to compute it."""

    before: int = 0
    behind: int = 0


@dataclass(frozen=True)
class Zeros:
    """Zeros that a reader takes for granted: before the first lane, and how many behind the last one by each band."""

    before: int = 0
    behind: tuple[int, ...] = ()


@dataclass(frozen=True)
class Stage:
    """A layer of a run: `done` units after each band, vectors of lanes or, where it pools, rows."""

    node: Node
    done: tuple[int, ...]
    reads: Margins


@dataclass(frozen=True)
class Run:
    """Layers that run band by band; of the values between them, the sliding planes and the zeros needed around."""

    stages: tuple[Stage, ...]
    planes: Mapping[str, Planes]
    zeros: Mapping[str, Zeros]


def find_runs(graph: Graph, layouts: Mapping[str, Layout], isa: InstructionSet) -> tuple[Run, ...]:
    """Runs of layers that are worth it, in the order of the graph."""
    return tuple(
        run for chain in _chains(graph, layouts, isa) for run in _runs_of(graph, chain, layouts, isa)
    )


def _runs_of(
    graph: Graph, chain: tuple[Node, ...], layouts: Mapping[str, Layout], isa: InstructionSet
) -> list[Run]:
    """As many layers from the start of the chain as one run can hold, and what can be made of the others."""
    for length in range(len(chain), 1, -1):
        run = _best_run(graph, chain[:length], layouts, isa)
        if run is not None:
            return [run, *_runs_of(graph, chain[length:], layouts, isa)]
    return _runs_of(graph, chain[1:], layouts, isa) if len(chain) > 2 else []


def _chains(graph: Graph, layouts: Mapping[str, Layout], isa: InstructionSet) -> list[tuple[Node, ...]]:
    """Layers whose outputs are large and read by the next one alone."""
    chains: list[tuple[Node, ...]] = []
    for node in graph.nodes:
        last = chains[-1] if chains else ()
        joins = last and _hands_over(graph, last[-1], node, layouts, isa)
        if joins and (is_max_of_pairs(graph, node) or _is_convolution(graph, node, layouts, isa)):
            chains[-1] = (*last, node)
        elif _begins(graph, node, layouts, isa):
            chains.append((node,))
        elif last:
            chains.append(())
    return [chain for chain in chains if chain]


def _begins(graph: Graph, node: Node, layouts: Mapping[str, Layout], isa: InstructionSet) -> bool:
    """Whether a chain may begin with a node; what is cheap to know is asked first."""
    large = isinstance(node.operation, Convolution) and _is_large(layouts[node.output], isa)
    return large and _is_convolution(graph, node, layouts, isa)


def _hands_over(
    graph: Graph, first: Node, second: Node, layouts: Mapping[str, Layout], isa: InstructionSet
) -> bool:
    value = first.output
    readers = graph.readers(value)
    alone = readers == (second,) and second.inputs[0] == value and value not in graph.outputs
    large = _is_large(layouts[value], isa)
    return alone and large and isinstance(first.operation, Convolution) and not first.operation.residual


def _is_large(layout: Layout, isa: InstructionSet) -> bool:
    return layout.floats * FLOAT_BYTES > level_two_cache_bytes(isa)


def _is_convolution(graph: Graph, node: Node, layouts: Mapping[str, Layout], isa: InstructionSet) -> bool:
    operation = node.operation
    if not isinstance(operation, Convolution) or operation.stride != (1, 1):
        return False
    planes = [layouts[name] for name in (node.inputs[0], node.output)]
    if not all(isinstance(plane, Planes) and not _changes(plane) for plane in planes):
        return False
    # Depthwise layers too were 1 % faster in bands in a dense MobileNetV2, and 5 % slower with one pruned 10 times.
    return not is_depthwise(graph, node) and not is_cheaper(graph, node, layouts, isa)


def _changes(planes: Layout) -> bool:
    return isinstance(planes, Planes) and isinstance(planes.lanes, Count)


def _best_run(
    graph: Graph, chain: tuple[Node, ...], layouts: Mapping[str, Layout], isa: InstructionSet
) -> Run | None:
    """The run whose bands have the most rows that the cache holds."""
    room = CACHE_SHARE * level_two_cache_bytes(isa) - _weight_bytes(graph, chain)
    read = layouts[chain[0].inputs[0]]
    assert isinstance(read, Planes)
    for rows in range(MOST_ROWS, 0, -2):
        if rows * read.pitch < LEAST_VECTORS * isa.lanes:
            break
        run = band_run(graph, chain, layouts, isa, rows)
        windows = sum(planes.channels * planes.plane for planes in run.planes.values())
        entering = read.channels * (rows * read.pitch + sum(vars(run.stages[0].reads).values()))
        if FLOAT_BYTES * (windows + entering) <= room and all(p.slides for p in run.planes.values()):
            return run
    return None


def _weight_bytes(graph: Graph, chain: tuple[Node, ...]) -> int:
    layers = [node.operation for node in chain if isinstance(node.operation, Convolution)]
    return FLOAT_BYTES * sum(int(graph.weights[layer.weight].count_nonzero()) for layer in layers)


def band_run(
    graph: Graph, chain: tuple[Node, ...], layouts: Mapping[str, Layout], isa: InstructionSet, rows: int
) -> Run:
    """The chain as a run in whose bands the last convolution goes `rows` rows further."""
    pools = [node for node in chain if isinstance(node.operation, Pool)]
    layers = chain[: len(chain) - len(pools)]
    written = layouts[layers[-1].output]
    assert isinstance(written, Planes)
    bands = -(-written.height // rows)
    needed = [(band + 1) * rows * written.pitch for band in range(bands)]
    stages: list[Stage] = []
    for node in reversed(layers):
        done = _vectors(layouts[node.output], needed, isa)
        if not stages:
            stages += [Stage(pool, _pooled(graph, pool, done, written, isa), Margins()) for pool in pools]
        reads = _reach(graph, node, written.pitch)
        stages.insert(0, Stage(node, done, reads))
        needed = [end * isa.lanes + reads.behind for end in done]
    planes, zeros = {}, {}
    for before, after in pairwise(stages):
        value = before.node.output
        planes[value] = _sliding(before, after, layouts[value], isa)
        unit, lanes = _unit(after, planes[value], isa), planes[value].lanes
        behind = tuple(max(0, end * unit + after.reads.behind - lanes) for end in after.done)
        zeros[value] = Zeros(after.reads.before, behind)
    return Run(tuple(stages), planes, zeros)


def _unit(stage: Stage, read: Planes, isa: InstructionSet) -> int:
    """Lanes of what a stage reads that it is done with, with every unit."""
    return 2 * read.pitch if isinstance(stage.node.operation, Pool) else isa.lanes


def _vectors(layout: Layout, needed: list[int], isa: InstructionSet) -> tuple[int, ...]:
    """Vectors of a map done after each band, where so many lanes are needed; all of them at the end."""
    assert isinstance(layout, Planes)
    whole = layout.lanes // isa.lanes
    return *(min(whole, -(-lanes // isa.lanes)) for lanes in needed[:-1]), whole


def _reach(graph: Graph, node: Node, pitch: int) -> Margins:
    operation = node.operation
    assert isinstance(operation, Convolution)
    kernel = graph.weights[operation.weight].shape[2:]
    shifts = [tap.shift[0] * pitch + tap.shift[1] for tap in taps(operation, (kernel[0], kernel[1]))]
    return Margins(max(0, -min(shifts)), max(0, *shifts))


def _pooled(
    graph: Graph, node: Node, done: tuple[int, ...], read: Planes, isa: InstructionSet
) -> tuple[int, ...]:
    rows = graph.shape(node.output)[2]
    return *(min(rows, end * isa.lanes // (2 * read.pitch)) for end in done[:-1]), rows


def _sliding(before: Stage, after: Stage, layout: Layout, isa: InstructionSet) -> Planes:
    """The planes of the value between two stages: the longest window of any band apart, in an odd number of lines."""
    assert isinstance(layout, Planes)
    unit = _unit(after, layout, isa)
    starts = (0, *after.done[:-1])
    window = max(
        max(made * isa.lanes, end * unit + after.reads.behind) - start * unit + after.reads.before
        for made, start, end in zip(before.done, starts, after.done, strict=True)
    )
    lines = -(-window // CACHE_LINE_FLOATS) | 1
    return replace(layout, plane=lines * CACHE_LINE_FLOATS)


def clear_margins(lowering: Lowering, value: str, zeros: Zeros) -> None:
    """Zeros around sliding planes: before the first lane in the first band, and behind the last one when it is near.

    In other bands, lanes of other planes lie there.
    """
    planes, place = planes_of(lowering, value), lowering.place(value)
    if zeros.before:
        first = Place(place.buffer, place.offset - zeros.before)
        done = (1,) * len(lowering.done)
        lowering.calls.append(_fill(first, planes, zeros.before, done))
    if any(zeros.behind):
        behind = Place(place.buffer, place.offset + int(planes.lanes))
        lowering.calls.append(_fill(Along(behind, 1), planes, UNITS, zeros.behind))


def _fill(start: Place | Along, planes: Planes, lanes: int | str, done: tuple[int, ...]) -> Call:
    return Call("fill", (start, 0.0, planes.channels, planes.plane, 1, 0, 1, 0, lanes, 1), done=done)
