"""How far a run has come: completed steps with what they found, epochs, and the checkpoint to go on from."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

FORMAT = 1
LAST_STEP = "report"


@dataclass(frozen=True)
class StepRecord:
    """A completed step: the facts it found (as JSON), the checkpoint it left, its wall seconds."""

    name: str
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None


@dataclass(frozen=True)
class EpochRecord:
    """A completed epoch: mean loss, held-out accuracy, the method's largest residuals if it has any.

    `examples` is how many were trained on, where the recipe leaves some out."""

    phase: str
    epoch: int
    loss: float
    accuracy: float
    residual: float | None
    seconds: float
    dual_residual: float | None = None
    examples: int | None = None


@dataclass(frozen=True)
class State:
    """Progress of a run; `checkpoint` is the file of the last epoch of the unfinished phase.

    `command` is the line that started the run.
    """

    command: str = ""
    steps: tuple[StepRecord, ...] = ()
    epochs: tuple[EpochRecord, ...] = ()
    checkpoint: str | None = None

    def step(self, name: str) -> StepRecord | None:
        """The record of a step, None while it is not completed."""
        return next((record for record in self.steps if record.name == name), None)

    def facts(self) -> dict[str, Any]:
        """What all completed steps found."""
        return {key: value for record in self.steps for key, value in record.facts.items()}

    def epochs_of(self, phase: str) -> tuple[EpochRecord, ...]:
        """The completed epochs of a phase."""
        return tuple(record for record in self.epochs if record.phase == phase)

    def after_epoch(self, record: EpochRecord, checkpoint: str) -> "State":
        """The state once an epoch is completed and its checkpoint written."""
        return replace(self, epochs=(*self.epochs, record), checkpoint=checkpoint)

    def after_step(self, record: StepRecord) -> "State":
        """The state once a step is completed."""
        return replace(self, steps=(*self.steps, record), checkpoint=None)

    def checkpoints(self) -> frozenset[str]:
        """The checkpoint files that the run still needs."""
        names = {record.checkpoint for record in self.steps} | {self.checkpoint}
        return frozenset(name for name in names if name)

    @property
    def finished(self) -> bool:
        """Whether every step is completed."""
        return self.step(LAST_STEP) is not None

    def to_json(self) -> dict[str, Any]:
        """A document that `from_json` reads back."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "State":
        """The state that `to_json` wrote; raises ValueError, KeyError or TypeError for anything else."""
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']} instead of {FORMAT}")
        steps = tuple(StepRecord(**record) for record in document["steps"])
        epochs = tuple(EpochRecord(**record) for record in document["epochs"])
        return cls(document["command"], steps, epochs, document["checkpoint"])
