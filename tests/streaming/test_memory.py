"""Peak resident memory, measured in a process of its own: within 1.5 layers and the states of a few hundred tokens."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from tests.streaming.conftest import make_network, save

SCRIPT = """
import json, sys, torch
from safetensors.torch import load_file
from spokeshave.streaming import ExpertPruning, prune_experts
from spokeshave.streaming.memory import forget_peak, peak_resident_bytes

torch.set_num_threads(1)
small, large, tokens, output = sys.argv[1:]
tokens = load_file(tokens)["tokens"]
prune_experts(small, output + "-small", tokens=tokens)  # loads what is loaded once, whatever the size
forget_peak()
before = peak_resident_bytes()
report = prune_experts(large, output, tokens=tokens)
print(json.dumps([before, report["peak_resident_bytes"]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("fused", [True, False])
def test_peak_grows_by_less_than_one_and_a_half_layers(tmp_path, fused):
    wide = {"hidden_size": 512, "intermediate_size": 1792, "num_local_experts": 8, "num_hidden_layers": 4}
    large = save(make_network(**wide), tmp_path / "large", fused=fused)
    small = save(make_network(), tmp_path / "small", fused=fused)
    tokens = torch.randint(96, (16, 64), generator=torch.Generator().manual_seed(0))
    save_file({"tokens": tokens}, tmp_path / "tokens")
    arguments = [str(path) for path in (small, large, tmp_path / "tokens", tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    before, peak = json.loads(done.stdout)
    layer = 2 * 8 * 3 * 512 * 1792
    states = 4 * tokens.numel() * (512 + 1792)
    assert peak - before <= 1.5 * layer + states
    assert peak - before >= layer // 8  # an expert at least is in memory: the measure measures
