"""What every step of a job is given, and what it gives back."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from spokeshave.fit.checkpoint import load_network, read_checkpoint
from spokeshave.fit.inputs import Inputs
from spokeshave.fit.observer import Observer
from spokeshave.fit.run_folder import RunFolder


@dataclass(frozen=True)
class Work:
    """The inputs of a job, its run folder, and who watches."""

    inputs: Inputs
    run: RunFolder
    observer: Observer

    def network_after(self, step: str) -> nn.Module:
        """The network with the weights that a step left behind; there is one network, its weights change."""
        record = self.run.read_state().step(step)
        assert record is not None
        assert record.checkpoint is not None
        weights = read_checkpoint(self.run, record.checkpoint)["network"]
        load_network(self.inputs.network, weights, self.run, record.checkpoint)
        return self.inputs.network


@dataclass(frozen=True)
class Found:
    """What a step found out, as JSON, and the checkpoint it left."""

    facts: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
