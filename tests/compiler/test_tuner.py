"""The tuner: right results, a cache that is used, survives interruption and mends itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spokeshave.compiler import compile_network
from spokeshave.compiler.build import find_compiler
from spokeshave.compiler.isa import instruction_set, instruction_sets
from spokeshave.compiler.schedule import Product, Schedule, candidates
from spokeshave.compiler.schedule_cache import ScheduleCache
from spokeshave.compiler.tuner import Tuner
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import cache_folder

PRODUCTS = 2
ISA = "avx2" if instruction_set(None).machine == "x86_64" else "portable"  # fewer tiles build faster


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 9, 3, padding=1), nn.ReLU(), nn.Conv2d(9, 10, 3, 2)).eval()


def cache_file() -> Path:
    return ScheduleCache(instruction_set(ISA), find_compiler(), 1).path


def forget_networks() -> None:
    """A whole network out of the cache would need no schedules."""
    shutil.rmtree(cache_folder() / "networks", ignore_errors=True)


def tune(network: nn.Module, **settings) -> list[tuple[int, int]]:
    """Tune, compare with PyTorch, and return what progress was told."""
    forget_networks()
    told: list[tuple[int, int]] = []
    x = torch.randn(2, 3, 13, 11)
    deployment = compile_network(
        network, x, isa=ISA, tune=True, progress=lambda done, total, _: told.append((done, total)), **settings
    )
    with torch.inference_mode():
        torch.testing.assert_close(deployment(x), network(x), rtol=1e-4, atol=1e-5)
    return told


def test_a_tuned_network_computes_the_same_and_is_tuned_once(network):
    assert tune(network) == [(0, PRODUCTS), (1, PRODUCTS), (PRODUCTS, PRODUCTS)]
    assert len(json.loads(cache_file().read_text())["schedules"]) == PRODUCTS
    assert tune(network) == []


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_layers_of_lower_precision_are_tuned(network, precision):
    x, told = torch.randn(2, 3, 13, 11), []
    settings = {"precision": precision, "calibration": [x], "progress": lambda *state: told.append(state)}
    deployment = compile_network(network, x, isa=ISA, tune=True, **settings)
    assert [done for done, _, _ in told] == list(range(PRODUCTS + 1))
    with torch.inference_mode():
        assert (deployment(x) - network(x)).abs().max() <= 0.05 * network(x).abs().max()
    told.clear()
    forget_networks()
    compile_network(network, x, isa=ISA, tune=True, **settings)
    assert not told


def test_threads_are_tuned_for_apart(network):
    tune(network)
    assert tune(network, threads=2) != []


def test_the_chooser_takes_what_the_cache_holds_if_it_is_a_candidate():
    isa, compiler = instruction_set(ISA), find_compiler()
    product = Product(np.ones((16, 27), bool), 1, (), 3, 40)
    estimated, *others = candidates(product, isa, 1)
    for kept, chosen in ((others[-1], others[-1]), (Schedule(1000, 1, 40, by_lanes=True), estimated)):
        ScheduleCache(isa, compiler, 1).add(product.key, kept)
        assert Tuner(isa, compiler).tune([], {})(product) == chosen


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schedules": 3}', '{"schedules": {"a": {"rows": 1}}}'])
def test_a_damaged_cache_is_rebuilt(network, text):
    tune(network)
    whole = json.loads(cache_file().read_text())
    cache_file().write_text(text)
    assert len(tune(network)) == PRODUCTS + 1
    assert json.loads(cache_file().read_text())["schedules"].keys() == whole["schedules"].keys()


def test_a_schedule_that_does_not_fit_the_product_is_timed_again(network):
    tune(network)
    document = json.loads(cache_file().read_text())
    for schedule in document["schedules"].values():
        schedule["rows"] = 1000
    cache_file().write_text(json.dumps(document))
    assert len(tune(network)) == PRODUCTS + 1


def test_an_interrupted_tuning_goes_on_where_it_stopped(network):
    def interrupt(done: int, total: int, layer: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_network(network, torch.randn(1, 3, 13, 11), isa=ISA, tune=True, progress=interrupt)
    assert tune(network) == [(0, 1), (1, 1)]


def test_two_processes_keep_each_others_results():
    first, second = (ScheduleCache(instruction_set(ISA), find_compiler(), 1) for _ in range(2))
    first.add("a", Schedule(1, 2, 3, by_lanes=True))
    second.add("b", Schedule(4, 5, 6, by_lanes=False))
    assert set(json.loads(cache_file().read_text())["schedules"]) == {"a", "b"}
    assert not list(cache_file().parent.glob("tmp*"))


def test_an_instruction_set_of_another_cpu_cannot_be_tuned_for():
    other = next(isa for isa in instruction_sets().values() if isa.machine not in ("", "x86_64"))
    with pytest.raises(SpokeshaveError, match="tuning runs code on this machine"):
        Tuner(other, find_compiler())
