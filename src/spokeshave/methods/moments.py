"""The second moments of what flows into a layer."""

from collections.abc import Iterable

from torch import Tensor, nn

from spokeshave.criteria.inputs import stream_inputs


def input_moments(
    network: nn.Module, layers: Iterable[str], batches: Iterable[tuple[Tensor, Tensor]], passes: int
) -> dict[str, Tensor]:
    """By layer: `X X^T` `[K, K]` over the first `passes` batches, X the inputs that the layer's matrix meets.

    Raises SpokeshaveError for layers whose inputs cannot be measured (see `stream_inputs`).
    """
    moments: dict[str, Tensor] = {}

    def add(layer: str, rows: Tensor) -> None:
        moments[layer] = moments.get(layer, 0) + rows.T @ rows

    stream_inputs(network, layers, batches, passes, add)
    return moments
