import json

import pytest
import torch
from torch import nn

import spokeshave
from spokeshave.errors import SpokeshaveError
from spokeshave.measure import side_by_side

EXAMPLE = torch.randn(2, 256)


def network():
    return nn.Sequential(*[nn.Linear(256, 256) for _ in range(4)])


def test_the_table_is_sorted_and_names_the_best_peer(one_thread):
    steps = []
    comparison = side_by_side(
        lambda x: x.sum(),
        network(),
        EXAMPLE,
        rounds=5,
        peers=["eager", "channels_last", "onnxruntime"],
        progress=lambda done, total, what: steps.append((done, total)),
    )
    medians = [row.median_seconds for row in comparison.table]
    assert medians == sorted(medians)
    assert [row.name for row in comparison.table if row.own] == ["spokeshave"]
    best = next(row for row in comparison.table if not row.own)
    assert comparison.best_dense_peer == best.name
    assert comparison.speedup.median == best.speedup > 1
    assert best.speedup_lower_quartile <= best.speedup <= best.speedup_upper_quartile
    assert [entry.name for entry in comparison.absent] == ["PyTorch eager, channels last"]
    assert steps == [(done, 8) for done in range(1, 9)]


def test_the_record_goes_into_json_whole(one_thread):
    comparison = side_by_side(network(), network(), EXAMPLE, rounds=3, peers=["eager"])
    record = json.loads(json.dumps(comparison.as_dict()))
    assert record["threads"] == record["machine"]["threads"] == 1
    assert {"median", "lower_quartile", "upper_quartile"} == record["speedup"].keys()
    assert {row["version"] for row in record["table"]} == {spokeshave.__version__, torch.__version__}


def test_only_one_sample_is_timed(one_thread):
    samples = set()
    side_by_side(lambda x: samples.add(len(x)), network(), EXAMPLE, rounds=3, peers=["eager"])
    assert samples == {1}


def test_the_sample_of_a_time_major_network_has_all_its_steps(one_thread):
    shapes = set()
    layer = nn.GRU(3, 4)
    table = side_by_side(
        lambda x: shapes.add(x.shape), layer, torch.randn(7, 2, 3), rounds=3, peers=["eager"]
    ).table
    assert shapes == {(7, 1, 3)}
    assert len(table) == 2


def test_without_any_peer_there_is_nothing_to_compare(one_thread):
    with pytest.raises(SpokeshaveError, match=r"no peer can run the network.*no 2-D convolution"):
        side_by_side(lambda x: x, network(), EXAMPLE, peers=["channels_last"])
