"""The README's first screen runs as printed."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import spokeshave

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 36, 4)),
    )
    names = {
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), 0.01),
        "loader": [(torch.randn(8, 1, 6, 6), torch.randint(0, 4, (8,)))],
    }
    exec(compile(code, str(README), "exec"), names)

    pruned = network[2].weight
    assert int((pruned != 0).sum()) <= pruned.numel() / 8
    torch.testing.assert_close(names["logits"], network(names["images"]), rtol=1e-4, atol=1e-5)
    loaded = spokeshave.load_deployment("deployed")
    assert torch.equal(loaded(names["images"]), names["logits"])
