"""Training without a plan, for loops that expect a session."""

from torch import Tensor, nn

from spokeshave.methods.unconfined import Unconfined

State = dict[str, Tensor]


def snapshot(network: nn.Module) -> State:
    """A copy of the network's `state_dict`."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


class DenseSession(Unconfined):
    """Confines nothing; `early` is the network as it was after `early_epochs` epochs, None until then."""

    def __init__(self, network: nn.Module, early_epochs: int) -> None:
        self.early: State | None = None
        self._network = network
        self._left = early_epochs

    def penalty(self) -> Tensor:
        """Zero, on the device of the weights."""
        return next(self._network.parameters()).new_zeros(())

    def after_epoch(self) -> None:
        """Count."""
        self._left -= 1
        if self._left == 0:
            self.early = snapshot(self._network)

    def finish(self) -> None:
        """Nothing."""
