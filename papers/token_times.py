"""What single inputs take in a compiled network that gives each its own number of tokens, beside dense ones."""

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from papers.deployments import timed
from spokeshave.compiler import NativeDeployment


def input_times(
    dense: Mapping[str, NativeDeployment], adaptive: NativeDeployment, inputs: Tensor, rounds: int
) -> dict[str, float]:
    """Milliseconds of one input, batch of one, one thread, all in one interleaved run.

    Of dense networks by name; of the adaptive one, input by input, the `mean` and the `tail` (95 %); and which part of
    its time are `selectors`.
    """
    calls: dict[str, Callable[[], Any]] = {name: partial(one, inputs[:1]) for name, one in dense.items()}
    calls |= {str(place): partial(adaptive, inputs[place : place + 1]) for place in range(len(inputs))}
    times = {name: time["milliseconds"] for name, time in timed(calls, rounds).items()}
    each = sorted(times[str(place)] for place in range(len(inputs)))
    return {
        **{name: times[name] for name in dense},
        "mean": statistics.fmean(each),
        "tail": each[int(0.95 * (len(each) - 1))],
        "selectors": selector_share(adaptive, inputs[:1]),
    }


def selector_share(deployment: NativeDeployment, inputs: Tensor) -> float:
    """How much of the time of its operations selectors take, selection included."""
    rows = deployment.profile(inputs)
    own = [row.seconds for row in rows if "token_selectors" in row.layer or row.operation == "SelectTokens"]
    return sum(own) / sum(row.seconds for row in rows)
