import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from spokeshave.compiler import compile as compile_module
from spokeshave.compiler import compile_network, exports, load_deployment, network_cache
from spokeshave.compiler.build import Compiler
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder
from spokeshave.plan import Plan, Rule
from spokeshave.schemes.block_column_row import BlockColumnRow

COMPILER = Compiler(("cc",), "none")
X = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def generated(monkeypatch):
    """How often a network was generated."""
    calls = []
    original = compile_module.generate_from_graph
    monkeypatch.setattr(
        compile_module, "generate_from_graph", lambda *given: calls.append(1) or original(*given)
    )
    return calls


def network(seed=0, width=16):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 4)).eval()


def entries() -> list[Path]:
    return sorted((cache_folder() / "networks").iterdir())


def test_the_same_network_is_generated_once(generated):
    first, second = compile_network(network(), X), compile_network(network(), X)
    assert len(generated) == 1
    assert torch.equal(first(X), second(X))
    assert second.manifest == first.manifest


def test_settings_weights_and_code_that_differ_are_compiled_anew(generated):
    pruned = Plan((Rule("0", BlockColumnRow(0.0, block=(4, 4))),))
    negated = network()
    negated[2].weight.data.neg_()
    leaky = network()
    leaky[1] = nn.LeakyReLU()
    compiled = [
        compile_network(network(), X),
        compile_network(network(), X, pruned),
        compile_network(network(), X, isa="portable"),
        compile_network(network(), X, precision="bfloat16"),
        compile_network(negated, X),
        compile_network(leaky, X),
        compile_network(network(width=17), X),
        compile_network(nn.Sequential(network()), X),
    ]
    assert len(generated) == len(compiled) == len(entries())
    assert torch.allclose(compiled[4](X), negated(X), atol=1e-6)
    assert torch.allclose(compiled[5](X), leaky(X), atol=1e-6)


def test_one_changed_weight_among_many_is_seen(generated):
    changed = network()
    compile_network(changed, X)
    with torch.no_grad():
        changed[2].bias[3] += 1e-6
    compile_network(changed, X)
    assert len(generated) == 2


def test_every_piece_of_a_large_weight_decides_with_its_place(monkeypatch):
    monkeypatch.setattr(network_cache, "PIECE_BYTES", 64)
    weight = torch.arange(16.0 * 10).view(10, 16)[:, :15]  # 600 bytes that do not lie in order
    keys = {network_cache.network_key([], COMPILER, (), [[changed]]) for changed in changes(weight)}
    again = {network_cache.network_key([], COMPILER, (), [[changed]]) for changed in changes(weight)}
    assert keys == again
    assert len(keys) == 14


def changes(weight: torch.Tensor) -> Iterator[torch.Tensor]:
    """A weight, with one element changed at a time, with two pieces exchanged, in another shape, and cut."""
    yield weight
    for index in range(0, 150, 15):
        changed = weight.flatten().clone()
        changed[index] += 1
        yield changed.view(10, 15)
    pieces = weight.flatten().split(16)
    yield torch.cat([pieces[1], pieces[0], *pieces[2:]]).view(10, 15)
    yield weight.reshape(15, 10)
    yield weight[:9]


@pytest.mark.parametrize("file", ["manifest.json", "weights.safetensors", "model.c", "model.so"])
def test_a_damaged_entry_is_compiled_again(generated, file):
    expected = compile_network(network(), X)(X)
    damaged = next(entries()[0].glob(f"*{Path(file).suffix}"))
    cut = damaged.read_bytes()[:-7]
    damaged.unlink()  # not in place: a library may be loaded
    damaged.write_bytes(cut)
    assert torch.equal(compile_network(network(), X)(X), expected)
    assert len(generated) == 2
    assert load_deployment(entries()[0]) is not None


def test_a_cached_network_can_be_saved_after_its_entry_is_gone(tmp_path, generated):
    compile_network(network(), X)
    deployment = compile_network(network(), X)
    shutil.rmtree(entries()[0])
    deployment.save(tmp_path / "saved")
    assert torch.equal(load_deployment(tmp_path / "saved")(X), deployment(X))


def test_networks_unused_for_longest_are_dropped(monkeypatch, generated):
    compile_network(network(seed=1), X)
    compile_network(network(seed=2), X)
    oldest_first = sorted(entries(), key=lambda entry: entry.stat().st_mtime_ns)
    for age, entry in enumerate(reversed(oldest_first)):
        os.utime(entry, (1e9 - age, 1e9 - age))
    size = sum(file.stat().st_size for file in entries()[0].iterdir())
    monkeypatch.setattr(network_cache, "MOST_BYTES", int(2.5 * size))
    monkeypatch.setattr(network_cache, "TIDYING", 1)
    compile_network(network(seed=1), X)  # used again, so no longer the oldest
    compile_network(network(seed=3), X)
    assert len(entries()) == 2
    compile_network(network(seed=1), X)
    assert len(generated) == 3


def test_one_key_in_a_few_tidies_the_folder(monkeypatch):
    compiled = compile_network(network(), X)
    looks = []
    monkeypatch.setattr(network_cache, "_drop_oldest", looks.append)
    generated, library = network_cache.cached_network(entries()[0].name), compiled._library_path
    keys = [f"{number:032x}" for number in range(2 * network_cache.TIDYING)]
    for key in keys:
        network_cache.keep_network(key, generated, library)
    assert looks == [keys[0], keys[network_cache.TIDYING]]
    assert len(entries()) == 1 + len(keys)


def test_a_cache_that_cannot_be_written_loses_nothing(generated, monkeypatch):
    (cache_folder()).mkdir(parents=True, exist_ok=True)
    (cache_folder() / "networks").write_text("in the way")
    assert torch.allclose(compile_network(network(), X)(X), network()(X), atol=1e-6)


def test_the_batch_is_looked_for_once_and_steps_of_another_example_are_not_taken_for_a_batch(
    generated, monkeypatch
):
    looks = []
    original = exports.find_batch_axes
    monkeypatch.setattr(exports, "find_batch_axes", lambda *given: looks.append(1) or original(*given))
    layer = nn.GRU(3, 4).eval()  # its batch is the second axis
    for steps in (5, 5, 2):
        inputs = torch.randn(steps, 1, 3)
        found, state = compile_network(layer, inputs)(inputs)
        expected, last = layer(inputs)
        assert torch.allclose(found, expected, atol=1e-5)
        assert torch.allclose(state, last, atol=1e-5)
    assert len(looks) == len(generated) == 2


def batches(seed: int = 0):
    """Calibration data as a stream, which can be read once."""
    generator = torch.Generator().manual_seed(seed)
    return ((torch.randn(4, 8, generator=generator), torch.zeros(4)) for _ in range(20))


def test_integers_come_from_the_cache_for_equal_calibration_data(generated):
    first = compile_network(network(), X, precision="int8", calibration=batches())
    second = compile_network(network(), X, precision="int8", calibration=list(batches()))
    assert len(generated) == 1
    assert torch.equal(first(X), second(X))
    assert second.manifest == first.manifest
    other = compile_network(network(), X, precision="int8", calibration=batches(1))
    assert len(generated) == 2
    assert other.manifest.layers != first.manifest.layers


def test_calibration_data_beyond_what_is_read_change_nothing(generated):
    data = list(batches())
    compile_network(network(), X, precision="int8", calibration=data)
    compile_network(network(), X, precision="int8", calibration=[*data[:16], *batches(1)])
    assert len(generated) == 1
    compile_network(network(), X, precision="int8", calibration=[*data[:15], *batches(1)])
    assert len(generated) == 2


def test_calibration_data_of_a_time_major_network_are_samples_and_not_steps(generated):
    layer = nn.GRU(3, 4).eval()
    steps = [torch.randn(70, 2, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    example = torch.randn(70, 1, 3)
    for data in (steps, steps, [*steps[:2], 2 * steps[2]]):  # 64 steps are in the first batch alone
        compile_network(layer, example, precision="int8", calibration=iter(data))
    assert len(generated) == 2


def test_changing_lengths_come_from_the_cache_unless_shorter_ones_do_other_work(generated):
    class Tokens(nn.Module):
        def __init__(self, least):
            super().__init__()
            torch.manual_seed(0)
            self.least, self.layer = least, nn.Linear(4, 4)

        def forward(self, x):
            made = self.layer(x)
            return made.relu() if x.shape[1] > self.least else made

    x = torch.randn(1, 6, 4)
    for _ in range(2):
        made = compile_network(Tokens(0), x, dynamic={"x": 1})
    assert len(generated) == 1
    assert torch.allclose(made(x[:, :3]), Tokens(0)(x[:, :3]), atol=1e-6)
    compile_network(Tokens(0), x)  # of one length
    compile_network(Tokens(0), torch.cat([x, x], 1), dynamic={"x": 1})
    assert len(generated) == 3
    with pytest.raises(SpokeshaveError, match="other work"):
        compile_network(Tokens(4), x, dynamic={"x": 1})


def test_an_exported_program_of_any_batch_decides_alone(generated):
    program = torch.export.export(network(), (X,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    first, second = compile_network(program, X), compile_network(program, X)
    assert len(generated) == 1
    assert torch.equal(first(X), second(X))
