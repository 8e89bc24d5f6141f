import json

import pytest
import torch
from torch import nn

from spokeshave.devices import HostDevice, layer_costs, load_device
from spokeshave.devices.measured_cache import kernel_digest
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow
from spokeshave.schemes.unstructured import Unstructured
from spokeshave.workload import trace

HOST = HostDevice()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache of measured costs that starts empty; built libraries stay where they are."""
    libraries = cache_folder() / "libraries"
    libraries.mkdir(parents=True, exist_ok=True)
    (tmp_path / "spokeshave").mkdir()
    (tmp_path / "spokeshave" / "libraries").symlink_to(libraries)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "spokeshave" / "layers"


def small_network():
    convolutions = [
        nn.Conv2d(16, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.ReLU(),
    ]
    return nn.Sequential(
        *convolutions, nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(64 * 256, 10)
    )


EXAMPLE = torch.randn(2, 16, 16, 16)


def test_costs_are_measured_and_equal_layers_are_timed_once(own_cache, monkeypatch):
    workload = trace(small_network(), EXAMPLE)
    cost = HOST.cost(workload)
    assert cost.kind == HOST.kind == "measured"
    assert "layers timed alone" in cost.source
    assert [name for name, _ in cost.by_layer] == ["0", "2", "4", "6"]
    assert cost.latency_seconds == pytest.approx(sum(seconds for _, seconds in cost.by_layer))
    assert min(seconds for _, seconds in cost.by_layer) > 0
    assert cost.weight_bytes >= 4 * sum(layer.weight_count for layer in workload.layers)
    assert len(list(own_cache.iterdir())) == 3  # two of the convolutions differ in their names only

    monkeypatch.setattr(layer_costs, "time_layer", lambda *_: pytest.fail("timed again"))
    assert HOST.cost(workload) == cost


def test_what_is_timed_is_the_pruned_layer(own_cache):
    """By its bytes, which are those of the deployment that is timed: which of two times is less is for benchmarks."""
    workload = trace(small_network(), EXAMPLE)
    plan = Plan((Rule("[024]", BlockColumnRow(0.9)),))
    dense, pruned = HOST.cost(workload), HOST.cost(workload, plan)
    convolutions = 4 * sum(layer.weight_count for layer in workload.layers[:3])
    assert 0.8 * convolutions < dense.weight_bytes - pruned.weight_bytes < 0.9 * convolutions
    assert dict(pruned.by_layer)["2"] != dict(dense.by_layer)["2"]
    assert dict(pruned.by_layer)["6"] == dict(dense.by_layer)["6"]


def test_transposed_convolutions_cost_what_they_cost_in_a_network(own_cache):
    layer = nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
    workload = trace(nn.Sequential(layer), torch.zeros(1, 8, 5, 4))
    assert HOST.supports(Unstructured(0.5), workload.layers[0]) is None
    cost = HOST.cost(workload)
    assert cost.latency_seconds > 0
    assert cost.weight_bytes >= 4 * layer.weight.numel()


def test_a_damaged_cache_entry_is_timed_again(own_cache):
    workload = trace(nn.Sequential(nn.Linear(64, 32)), torch.zeros(1, 64))
    HOST.cost(workload)
    (path,) = own_cache.iterdir()
    for damage in ("{", "[]", '{"key": {}}', json.dumps(json.loads(path.read_text()) | {"seconds": None})):
        path.write_text(damage)
        assert HOST.cost(workload).latency_seconds > 0
        assert json.loads(path.read_text())["seconds"] > 0
    assert list(own_cache.iterdir()) == [path]


def test_what_a_cost_hangs_on_is_in_its_key(own_cache):
    setting = layer_costs.Setting("a CPU", "baseline")
    (layer,) = trace(nn.Sequential(nn.Linear(64, 32)), torch.zeros(1, 64)).layers
    key = layer_costs.layer_key(layer, Unstructured(0.5), setting)
    assert key["scheme"] == {"scheme": "unstructured", "sparsity": 0.5}
    assert (key["cpu"], key["isa"], key["kernels"]) == ("a CPU", "baseline", kernel_digest())
    (other,) = trace(nn.ModuleList([nn.Linear(64, 32)])[0], torch.zeros(1, 64)).layers
    assert layer_costs.layer_key(other, Unstructured(0.5), setting) == key
    assert layer_costs.layer_key(layer, None, setting) != key


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "spokeshave").mkdir()
    (tmp_path / "spokeshave" / "layers").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SpokeshaveError, match="cannot write the cache file"):
        HOST.cost(trace(nn.Sequential(nn.Linear(8, 8)), torch.zeros(1, 8)))


class EveryKind(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(6, 12, 3, stride=2, groups=2, padding=1)
        self.memory = nn.GRU(12, 16, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x, _ = self.memory(self.front(x).transpose(1, 2))
        return self.head(x @ (x.transpose(1, 2) @ x))


def test_every_kind_of_layer_has_a_cost(own_cache):
    workload = trace(EveryKind(), torch.randn(1, 6, 40))
    assert {layer.kind for layer in workload.layers} == {"convolution", "recurrent", "matmul", "linear"}
    cost = HOST.cost(workload)
    assert len(cost.by_layer) == len(workload.layers)
    assert all(seconds > 0 for _, seconds in cost.by_layer)


def test_what_it_does_not_profit_from_is_said():
    layers = {layer.kind: layer for layer in trace(EveryKind(), torch.randn(1, 6, 40)).layers}
    scheme = Unstructured(0.5)
    assert HOST.supports(scheme, layers["convolution"]) is None
    assert HOST.supports(scheme, layers["linear"]) is None
    assert HOST.supports(scheme, layers["recurrent"]) is None
    assert "through PyTorch" in HOST.supports(scheme, layers["matmul"])


def test_a_block_larger_than_its_layer_is_told(own_cache):
    workload = trace(nn.Sequential(nn.Linear(4, 4)), torch.zeros(1, 4))
    with pytest.raises(SpokeshaveError, match="the plan does not suit 0: a block of 8 x 64 is larger"):
        HOST.cost(workload, Plan((Rule("0", BlockColumnRow(0.5)),)))


def test_deployments_run_here(own_cache):
    network = small_network().eval()
    deployment = load_device("host").deploy(network, EXAMPLE)
    with torch.inference_mode():
        assert torch.allclose(deployment(EXAMPLE), network(EXAMPLE), atol=1e-4)


def test_the_description_names_cpu_and_compiler():
    text = HOST.describe()
    assert text.startswith("host (measured)")
    assert HOST.about in text
    assert "compiler: " in text
    with pytest.raises(SpokeshaveError, match="no instruction set 'mmx'"):
        HostDevice(isa="mmx").describe()
