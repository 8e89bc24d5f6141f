"""The passes in their order, with the verifier after each."""

from collections.abc import Callable

from spokeshave.compiler.graph import Graph
from spokeshave.compiler.passes.eliminate_dead import eliminate_dead
from spokeshave.compiler.passes.fold_batch_norm import fold_batch_norm
from spokeshave.compiler.passes.fuse_activation import fuse_activation
from spokeshave.compiler.passes.fuse_residual import fuse_residual
from spokeshave.compiler.passes.merge_reshapes import merge_reshapes
from spokeshave.compiler.verify import verify

Pass = Callable[[Graph], Graph]

PASSES: tuple[Pass, ...] = (
    fold_batch_norm,
    fuse_activation,
    fuse_residual,
    fuse_activation,
    merge_reshapes,
    eliminate_dead,
)


def optimise(graph: Graph) -> Graph:
    """Run every pass, verifying the graph before the first and after each."""
    graph = verify(graph)
    for run in PASSES:
        graph = verify(run(graph))
    return graph
