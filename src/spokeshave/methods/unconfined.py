"""What sessions have in common that confine no weight: teachers, and training without a plan."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spokeshave.errors import SpokeshaveError
from spokeshave.methods.constraints import check_keys


class Unconfined:
    """Hooks that do nothing, no residuals, and no state unless a session has its own."""

    def after_step(self) -> None:
        """Nothing."""

    def after_epoch(self) -> None:
        """Nothing."""

    def residuals(self) -> dict[str, float]:
        """None: no weight is confined."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """Nothing to keep."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to put back."""
        check_keys(state, self.state())


def check_teacher(owner: str, teacher: nn.Module, network: nn.Module) -> None:
    """Raise SpokeshaveError for a network that is to teach itself: teaching would put it in evaluation mode."""
    if teacher is network:
        raise SpokeshaveError(
            f"{owner}: the teacher is the network itself; give a copy of it, copy.deepcopy(network)"
        )


def taught(teacher: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """What a teacher gives on a student's inputs, which it must be able to take; it does not learn."""
    teacher.eval()
    with torch.no_grad():
        try:
            return teacher(*inputs, **named)
        except (RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise SpokeshaveError(f"the teacher cannot run on the network's inputs: {reason}") from error
