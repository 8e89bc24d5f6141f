"""The cell computes what the formulas of the published weights say."""

import numpy as np
import torch
from papers.keyword_lstm import lstm_of
from papers.keywords import Listener

FEATURES, CELLS, PROJECTED, WORDS = 5, 7, 4, 3


def stored() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {
        "kernel": (FEATURES + PROJECTED, 4 * CELLS),
        "bias": (4 * CELLS,),
        **{f"w_{gate}_diag": (CELLS,) for gate in "ifo"},
        "projection.kernel": (CELLS, PROJECTED),
        "out.kernel": (PROJECTED, WORDS),
        "out.bias": (WORDS,),
    }
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def by_formula(weights: dict[str, np.ndarray], clips: np.ndarray) -> np.ndarray:
    """As TensorFlow computes it: gates i, j, f, o, a forget bias of 1, peepholes."""

    def sigmoid(values: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-values))

    cells, projected = np.zeros((len(clips), CELLS)), np.zeros((len(clips), PROJECTED))
    for frame in clips.swapaxes(0, 1):
        joined = np.hstack((frame, projected)) @ weights["kernel"] + weights["bias"]
        i, j, f, o = np.split(joined, 4, 1)
        cells = sigmoid(f + 1 + weights["w_f_diag"] * cells) * cells + sigmoid(
            i + weights["w_i_diag"] * cells
        ) * np.tanh(j)
        projected = (sigmoid(o + weights["w_o_diag"] * cells) * np.tanh(cells)) @ weights["projection.kernel"]
    return projected @ weights["out.kernel"] + weights["out.bias"]


def test_the_cell_is_the_published_one():
    weights, clips = stored(), torch.randn(6, 9, FEATURES)
    cell = lstm_of(weights)
    with torch.no_grad():
        scores = Listener(cell, cell.hidden)(clips)
    wanted = torch.from_numpy(by_formula(weights, clips.numpy())).float()
    torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-4)
