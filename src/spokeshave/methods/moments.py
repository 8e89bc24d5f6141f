"""The second moments of what flows into a layer."""

from collections.abc import Iterable

from torch import Tensor, nn

from spokeshave.criteria.inputs import stream_inputs
from spokeshave.criteria.ranks import mean_over_ranks


def input_moments(
    network: nn.Module, parameters: Iterable[str], batches: Iterable[tuple[Tensor, Tensor]], passes: int
) -> dict[str, Tensor]:
    """By parameter: `X X^T` `[groups, K, K]` over the first `passes` batches, X the inputs that its matrix meets.

    Several processes, each with batches of its own, all get the mean of what they find.
    Raises SpokeshaveError for layers whose inputs cannot be measured (see `stream_inputs`).
    """
    moments: dict[str, Tensor] = {}

    def add(name: str, rows: Tensor) -> None:
        moments[name] = moments.get(name, 0) + rows.transpose(1, 2) @ rows

    stream_inputs(network, parameters, batches, passes, add)
    return mean_over_ranks(moments)
