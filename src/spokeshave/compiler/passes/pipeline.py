"""The passes in their order, with the verifier after each."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.passes.absorb_padding import absorb_padding
from spokeshave.compiler.passes.delay_interleaves import delay_interleaves
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.passes.embed_patches import add_to_patches, cut_patches, merge_constants
from spokeshave.compiler.passes.expand_broadcasts import expand_broadcasts
from spokeshave.compiler.passes.fold_batch_norm import fold_batch_norm
from spokeshave.compiler.passes.fuse_activation import fuse_activation
from spokeshave.compiler.passes.fuse_attention import fuse_attention
from spokeshave.compiler.passes.fuse_residual import fuse_residual
from spokeshave.compiler.passes.fuse_rms_norm import fuse_rms_norm
from spokeshave.compiler.passes.merge_moves import merge_moves
from spokeshave.compiler.passes.merge_reshapes import merge_reshapes
from spokeshave.compiler.passes.pool_whole_maps import pool_whole_maps
from spokeshave.compiler.passes.recognise_activations import recognise_activations
from spokeshave.compiler.passes.recognise_signs import recognise_signs
from spokeshave.compiler.passes.simplify_permutes import simplify_permutes
from spokeshave.compiler.passes.sink_reshapes import sink_reshapes
from spokeshave.compiler.verify import verify

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    fuse_attention,
    fuse_rms_norm,
    recognise_signs,
    eliminate_dead,
    pool_whole_maps,
    merge_moves,
    eliminate_dead,
    simplify_permutes,
    sink_reshapes,
    merge_reshapes,
    eliminate_dead,
    absorb_padding,
    delay_interleaves,
    fold_batch_norm,
    recognise_activations,
    delay_interleaves,
    eliminate_dead,
    fuse_activation,
    cut_patches,
    merge_constants,
    eliminate_dead,
    add_to_patches,
    fuse_residual,
    fuse_activation,
    expand_broadcasts,
    eliminate_dead,
)


@dataclass(frozen=True)
class Change:
    """What a pass did: how many operations of each kind there were before and after, where the number changed."""

    name: str
    operations: tuple[tuple[str, int, int], ...]


def optimise(graph: Graph) -> Graph:
    """Run every pass, verifying the graph before the first and after each."""
    return optimise_recorded(graph)[0]


def optimise_recorded(graph: Graph) -> tuple[Graph, tuple[Change, ...]]:
    """The same, with what each pass changed."""
    graph, changes = verify(graph), []
    for run in PASSES:
        before, graph = graph, verify(run(graph))
        changes.append(Change(run.__name__, _differences(before, graph)))
    return graph, tuple(changes)


def _differences(before: Graph, after: Graph) -> tuple[tuple[str, int, int], ...]:
    old, new = (Counter(type(node.operation).__name__ for node in graph.nodes) for graph in (before, after))
    return tuple((kind, old[kind], new[kind]) for kind in sorted(old | new) if old[kind] != new[kind])
