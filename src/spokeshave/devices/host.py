"""This CPU: costs measured by running the very kernels, and deployments of native code."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from spokeshave.compiler import NativeDeployment, compile_network
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.isa import instruction_set, level_two_cache_bytes
from spokeshave.deployment import Cost
from spokeshave.devices.assignment import usable_schemes
from spokeshave.devices.device import check_asked
from spokeshave.devices.layer_costs import Setting, measured_cost
from spokeshave.errors import SpokeshaveError
from spokeshave.plan import Plan
from spokeshave.processor import cpu_name
from spokeshave.schemes.scheme import Scheme
from spokeshave.workload import Layer, Workload


@dataclass(frozen=True)
class HostDevice:
    """This CPU, by its best instruction set or by a lesser one that `isa` names."""

    isa: str | None = None
    name: str = "host"
    kind: Literal["measured"] = "measured"
    deployment: str = "native code, timed here"

    @property
    def about(self) -> str:
        """The CPU's name and the instruction set in use."""
        return f"this CPU: {cpu_name()}, {instruction_set(self.isa).name}, one thread a sample"

    def describe(self) -> str:
        """CPU, instruction set, vector width and compiler."""
        isa = instruction_set(self.isa)
        lines = [
            f"{self.name} (measured): {self.about}",
            f"vectors: {isa.lanes} float32 lanes, {isa.registers} registers (instruction set {isa.name})",
            f"features used: {', '.join(isa.features) or 'none beyond the base'}",
            f"level-2 cache: {level_two_cache_bytes(isa)} byte a core (the operating system)",
            f"compiler: {_compiler()}",
        ]
        return "\n".join(lines)

    def supports(self, scheme: Scheme, layer: Layer) -> str | None:
        """None for layers whose zeros are never computed with; else the reason."""
        check_asked(scheme, layer)
        if layer.kind != "matmul":
            return None
        return f"{layer.kind} layers run through PyTorch here, which computes with the zeros too"

    def cost(self, workload: Workload, plan: Plan | None = None) -> Cost:
        """Latency and weight bytes of one sample: every layer compiled alone with random weights, and timed.

        What has no weights and multiplies no matrices (pooling, activations that no layer takes in) is left
        out. Layers are timed once for each shape and scheme, and kept in the user's cache folder. Raises
        SpokeshaveError when a scheme does not suit its layer, and for operators of unknown sizes.
        """
        schemes = usable_schemes(self, workload, plan)
        setting = Setting(cpu_name(), instruction_set(self.isa).name)
        costs = [
            (layer, measured_cost(layer, schemes.get(layer.parameter or ""), setting))
            for layer in workload.layers
        ]
        source = f"{setting.cpu}, {setting.isa}, {find_compiler().version}, one thread"
        return Cost(
            kind="measured",
            source=f"{source}; layers timed alone and added up",
            latency_seconds=sum(cost.seconds for _, cost in costs),
            weight_bytes=sum(workload.once([cost.weight_bytes for _, cost in costs])),
            by_layer=tuple((layer.name, cost.seconds) for layer, cost in costs),
        )

    def deploy(
        self,
        network: Any,
        example: Tensor | tuple[Tensor, ...],
        plan: Plan | None = None,
        calibration: Iterable[Any] | None = None,
    ) -> NativeDeployment:
        """Compile the network for this CPU in float32, which needs no calibration (see `compile_network`)."""
        return compile_network(network, example, plan, self.isa)


def _compiler() -> str:
    """The compiler's version line, or why there is none: a description must not fail for that."""
    try:
        return find_compiler().version
    except SpokeshaveError as error:
        return str(error)
