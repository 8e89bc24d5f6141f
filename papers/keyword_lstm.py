"""The keyword network LSTM-500 with trained weights (Zhang et al., arXiv 1711.07128): peepholes and a projection."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

FORGET = 1.0  # what TensorFlow adds to the forget gate


class ProjectedCell(nn.Module):
    """One step: `(frame [N, F], state [N, H])` to the scores of every word and the next state.

    A state is the cells, then what is projected of them, which the next step reads.
    """

    def __init__(self, features: int, cells: int, projected: int, classes: int) -> None:
        super().__init__()
        self.cells, self.hidden = cells, cells + projected
        self.inputs = nn.Linear(features, 4 * cells)
        self.gates = nn.Linear(projected, 4 * cells, bias=False)
        self.peepholes = nn.Parameter(torch.zeros(3, cells))
        self.projection = nn.Linear(cells, projected, bias=False)
        self.head = nn.Linear(projected, classes)

    def forward(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Input, candidate, forget and output gates, three of which see the cells, and the words' scores."""
        cells, projected = state.split((self.cells, self.hidden - self.cells), 1)
        entering, candidate, forgetting, leaving = (self.inputs(frame) + self.gates(projected)).chunk(4, 1)
        of_input, of_forget, of_output = self.peepholes.unbind()
        kept = torch.sigmoid(forgetting + FORGET + of_forget * cells) * cells
        cells = kept + torch.sigmoid(entering + of_input * cells) * torch.tanh(candidate)
        projected = self.projection(torch.sigmoid(leaving + of_output * cells) * torch.tanh(cells))
        return self.head(projected), torch.cat((cells, projected), 1)


def lstm_of(stored: Mapping[str, np.ndarray]) -> ProjectedCell:
    """The cell with stored weights, whose kernels have inputs for rows."""
    tensors = {name: torch.from_numpy(stored[name]) for name in stored}
    kernel, projection, out = (tensors[f"{name}kernel"].T for name in ("", "projection.", "out."))
    projected, cells = projection.shape
    features = kernel.shape[1] - projected
    cell = ProjectedCell(features, cells, projected, len(out))
    with torch.no_grad():
        cell.inputs.weight.copy_(kernel[:, :features])
        cell.inputs.bias.copy_(tensors["bias"])
        cell.gates.weight.copy_(kernel[:, features:])
        cell.peepholes.copy_(torch.stack([tensors[f"w_{gate}_diag"] for gate in "ifo"]))
        cell.projection.weight.copy_(projection)
        cell.head.weight.copy_(out)
        cell.head.bias.copy_(tensors["out.bias"])
    return cell
