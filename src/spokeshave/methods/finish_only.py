"""The session of methods that leave training alone and do everything at its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from spokeshave.methods.constraints import Constraint, check_keys, distances, zero_penalty


@dataclass(frozen=True)
class FinishOnly:
    """Calls `put_into_schemes` in `finish`; until then nothing happens, and there is no state to keep."""

    constraints: tuple[Constraint, ...]
    put_into_schemes: Callable[[], None]

    def penalty(self) -> Tensor:
        """Zero."""
        return zero_penalty(self.constraints)

    def after_step(self) -> None:
        """Nothing."""

    def after_epoch(self) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Put every weight into its scheme."""
        self.put_into_schemes()

    def residuals(self) -> dict[str, float]:
        """By weight: distance from its scheme relative to its norm."""
        return distances(self.constraints)

    def state(self) -> dict[str, Tensor]:
        """Nothing to keep."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to put back."""
        check_keys(state, {})
