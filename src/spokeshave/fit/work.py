"""What every step of a job is given, and what it gives back."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from spokeshave.fit.checkpoint import load_network, read_checkpoint
from spokeshave.fit.inputs import Inputs
from spokeshave.fit.observer import Observer
from spokeshave.fit.run_folder import RunFolder
from spokeshave.fit.tokens import put_in


@dataclass(frozen=True)
class Work:
    """The inputs of a job, its run folder, and who watches."""

    inputs: Inputs
    run: RunFolder
    observer: Observer

    def facts_of(self, step: str) -> dict[str, Any]:
        """What a completed step found."""
        record = self.run.read_state().step(step)
        assert record is not None
        return record.facts

    def network_after(self, step: str) -> nn.Module:
        """The network with the weights and token reducers that a step left behind; there is one, and it changes."""
        record = self.run.read_state().step(step)
        assert record is not None
        assert record.checkpoint is not None
        weights = read_checkpoint(self.run, record.checkpoint)["network"]
        put_in(self.inputs.network, record.facts.get("tokens", ()), self.inputs.recipe.seed)
        load_network(self.inputs.network, weights, self.run, record.checkpoint)
        return self.inputs.network


@dataclass(frozen=True)
class Found:
    """What a step found out, as JSON, and the checkpoint it left."""

    facts: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
