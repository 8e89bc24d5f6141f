"""Times of networks whose inputs keep different numbers of tokens."""

import time
from types import SimpleNamespace

import torch
from papers.token_times import input_times, selector_share


class Made:
    """Takes as long as its input says, in milliseconds."""

    def __call__(self, inputs):
        end = time.process_time() + float(inputs[0]) / 1e3
        while time.process_time() < end:
            pass

    def profile(self, inputs):
        parts = (
            ("block", "MatMul", 3.0),
            ("token_selectors.1", "MatMul", 0.5),
            ("block1", "SelectTokens", 0.5),
        )
        return [SimpleNamespace(layer=layer, operation=kind, seconds=took) for layer, kind, took in parts]


def test_times_are_of_single_inputs():
    inputs = torch.tensor([[4.0], [1.0], [1.0], [3.0], [1.0]])
    found = input_times({"dense": Made()}, Made(), inputs, rounds=5)
    assert found["dense"] >= 4
    assert 2 <= found["mean"] < found["tail"] < found["dense"]
    assert found["selectors"] == selector_share(Made(), inputs) == 0.25
