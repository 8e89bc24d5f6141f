"""Where a network spends its time and weights on a device, layer by layer."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor, nn
from torch.export import ExportedProgram

from spokeshave.batch import first_sample
from spokeshave.compiler import LayerTime, NativeDeployment
from spokeshave.devices.assignment import costed_layers
from spokeshave.devices.device import Device
from spokeshave.devices.host import HostDevice
from spokeshave.plan import Plan
from spokeshave.processor import limited_threads
from spokeshave.workload import Layer, Workload, trace

REPEATS = 31
MATRICES = {"Convolution": 1, "Linear": 1, "Recurrent": 2}  # of one step
PYTORCH = "PyTorch"


@dataclass(frozen=True)
class ProfileRow:
    """One step of a network: `seconds` of one sample, and the `share` of all steps that this is.

    `shape`, `weights` and `multiply_adds` are those of the dense layer: empty and 0 for steps without
    matrices. `kernel` names what ran the step, and is empty where there are no kernels.
    """

    layer: str
    operator: str
    shape: tuple[int, ...]
    weights: int
    multiply_adds: int
    seconds: float
    share: float
    kernel: str = ""


@dataclass(frozen=True)
class Profile:
    """All steps in the order in which they run; `kind` and `source` say where the seconds come from.

    `tokens` is how many each token selector left of the sample, by its name; none for selectors of fixed counts.
    """

    rows: tuple[ProfileRow, ...]
    device: str
    kind: Literal["measured", "modelled"]
    source: str
    seconds: float
    tokens: Mapping[str, int] = field(default_factory=dict)


def profile(
    network: nn.Module | ExportedProgram,
    example: Tensor | tuple[Tensor, ...],
    device: Device,
    plan: Plan | None = None,
) -> Profile:
    """Profile a network, whose weights lie in the plan's schemes, on the first sample of `example`.

    On this CPU the seconds are those of the deployment's own clock, step by step; on a modelled device they
    are its cost of each layer. Raises SpokeshaveError when the network cannot be exported or a weight is not
    in its scheme.
    """
    workload, inputs = trace(network, example), first_sample(network, example)
    if not isinstance(device, HostDevice):
        cost = device.cost(workload, plan)
        rows = [
            _row(layer.name, layer.kind.capitalize(), "", seconds, [layer])
            for layer, seconds in costed_layers(workload, cost)
        ]
        left_out = sorted({layer for layer, _ in cost.left_out})
        told = f"; not counted: {', '.join(left_out)}" if left_out else ""
        return _profile(rows, device, cost.source + told)
    with limited_threads(1):
        deployment = device.deploy(network, inputs, plan)
        times = deployment.profile(*inputs, repeats=REPEATS)
        tokens = {name: int(left[0]) for name, left in _tokens_left(deployment, inputs).items()}
    found = _profile(
        _measured_rows(workload, times), device, f"{device.about}, {deployment.manifest.compiler}"
    )
    return replace(found, tokens=tokens)


def _tokens_left(deployment: NativeDeployment, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """By selector, of one call."""
    deployment(*inputs)
    return deployment.token_counts if deployment.manifest.selectors else {}


def _measured_rows(workload: Workload, times: Iterable[LayerTime]) -> list[ProfileRow]:
    """Each step with its work: a layer's weights go to its matrix steps, in the order in which they run."""
    waiting: dict[str, list[Layer]] = defaultdict(list)
    for layer in workload.layers:
        waiting[layer.name].append(layer)
    rows = []
    for time in times:
        known = waiting[time.layer]
        count = len(known) if time.kernel == PYTORCH else MATRICES.get(time.operation, 0)
        rows.append(_row(time.layer, time.operation, time.kernel, time.seconds, known[:count]))
        del known[:count]
    return rows


def _row(layer: str, operator: str, kernel: str, seconds: float, work: list[Layer]) -> ProfileRow:
    return ProfileRow(
        layer=layer,
        operator=operator,
        shape=work[0].weight_shape if work else (),
        weights=sum(part.weight_count for part in work),
        multiply_adds=sum(part.multiply_adds for part in work),
        seconds=seconds,
        share=0.0,
        kernel=kernel,
    )


def _profile(rows: list[ProfileRow], device: Device, source: str) -> Profile:
    total = sum(row.seconds for row in rows)
    shared = tuple(replace(row, share=row.seconds / total if total else 0.0) for row in rows)
    return Profile(shared, device.name, device.kind, source, total)
