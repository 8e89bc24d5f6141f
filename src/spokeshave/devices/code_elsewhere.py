"""Plain C for a CPU that is elsewhere: saved for it, and called here through this CPU's own kernels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from spokeshave.compiler import NativeDeployment, compile_network, generate
from spokeshave.compiler.artifact import write_artifact
from spokeshave.compiler.generated import Generated
from spokeshave.deployment import Cost
from spokeshave.plan import Plan


@dataclass(frozen=True)
class CodeElsewhere:
    """A network for another CPU: `save` writes its plain C, calls run the same operations compiled for this CPU.

    Both are float32 code of one generator; their results differ by rounding alone.
    """

    generated: Generated
    here: NativeDeployment
    cost: Cost

    def __call__(self, *inputs: Any) -> Any:
        """Run a batch on this CPU."""
        return self.here(*inputs)

    def save(self, folder: Path) -> None:
        """Write sources, weights and an example for the other CPU (see `write_artifact`)."""
        write_artifact(self.generated, folder)


def code_elsewhere(
    network: Any, example: Tensor | tuple[Tensor, ...], plan: Plan | None, isa: str, cost: Cost
) -> CodeElsewhere:
    """The network for an instruction set of another CPU, and for this one; raises SpokeshaveError as they do."""
    return CodeElsewhere(generate(network, example, plan, isa), compile_network(network, example, plan), cost)
