"""The benchmarks' own machinery on tiny networks: no timing is asserted."""

import ctypes
import json
import math
import re
from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from bench.catalogue import CASES, Case, make
from bench.chains import CHAINS
from bench.contest import Contender, standings
from bench.goals import missed_table
from bench.own import Makes, kept_share, plan_for, pruned
from bench.rates import rate_table
from bench.records import join, put
from bench.standings import absent_table, loss_table
from bench.workers import DENSE
from torch import nn

from bench import ablation, ceilings, command, layers, page, sparse_products, trial
from spokeshave.compiler.isa import best_here
from spokeshave.measure import InterleavedRun
from spokeshave.workload import trace


def small_convolutions():
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 64, 24)), (torch.randn(1, 3, 8, 8),)


def normalised_convolutions():
    layers = [nn.Conv2d(16, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)]
    return nn.Sequential(*layers, nn.ReLU()), (torch.randn(1, 16, 12, 12),)


TINY = Case("tiny", "8 x 8 pixels", small_convolutions)
NORMALISED = Case("normalised", "12 x 12 pixels", normalised_convolutions, prune_first=True)


@pytest.fixture
def arguments(tmp_path):
    return Namespace(
        compression=[1.0, 4.0],
        precision=["fp32", "int8"],
        batch=1,
        tune=False,
        prepare=False,
        clock="processor",
        rounds=3,
        seconds=math.inf,
        peer=["eager", "onnxruntime", "onnxruntime_int8"],
        conversions=tmp_path / "conversions",
        output=tmp_path / "networks.json",
    )


def contender(name, own, precision, compression):
    return Contender(name, own, precision, compression, "1", lambda: None, 0.0)


def test_a_trial_records_contenders_standings_and_where_it_was_taken(arguments):
    records = [trial.trial(TINY, "peers", threads, arguments, layers.extra) for threads in (1, 2)]
    assert [record["threads"] for record in records] == [1, 2]
    assert [record["clock"] for record in records] == ["processor", "wall"]
    for record in json.loads(json.dumps(records)):
        assert {"git_revision", "date", "command", "machine", "load_average_before"} <= record.keys()
        labels = [one["label"] for one in record["contenders"]]
        assert {
            "spokeshave fp32",
            "spokeshave fp32 4x",
            "spokeshave int8 4x",
            "PyTorch eager fp32",
            "ONNX Runtime int8",
        } <= set(labels)
        assert {
            "spokeshave, unstructured fp32 10x",
            "scipy CSR fp32 10x",
            "torch.sparse CSR fp32 10x",
        } <= set(labels)
        times = [one["milliseconds"] for one in record["contenders"]]
        assert times == sorted(times)
        assert all(
            0 < one["lower_quartile"] <= one["milliseconds"] <= one["upper_quartile"]
            for one in record["contenders"]
        )
        exact = [one for one in record["contenders"] if one["precision"] == "fp32"]
        assert max(one["max_relative_error"] for one in exact) < 1e-4
        assert [(row["precision"], row["compression"]) for row in record["rows"]] == [
            *(("fp32", 1), ("fp32", 4)),
            *(("best", 1), ("best", 4)),
        ]
        assert {row["best_peer"] for row in record["rows"]} <= {
            one["label"] for one in record["contenders"] if not one["own"] and one["compression"] == 1
        }
        assert record["multiply_adds"] == 64 * 9 * (3 * 16 + 16 * 32) + 32 * 64 * 24


def test_standings_are_ratios_within_the_rounds_and_keep_to_their_class():
    seconds = {
        "spokeshave fp32 2x": (2.0, 2.0, 4.0),
        "spokeshave int8 2x": (1.0, 1.0, 1.0),
        "A fp32": (4.0, 4.0, 4.0),
        "B int8": (3.0, 1.0, 2.0),
        "C fp32 10x": (0.1, 0.1, 0.1),
    }
    contenders = [
        contender("spokeshave", True, "fp32", 2.0),
        contender("spokeshave", True, "int8", 2.0),
        contender("A", False, "fp32", 1.0),
        contender("B", False, "int8", 1.0),
        contender("C", False, "fp32", 10.0),
    ]
    rows = standings(InterleavedRun(seconds, dict.fromkeys(seconds, 1)), contenders)
    found = [(row["precision"], row["ours"], row["best_peer"]) for row in rows]
    assert found == [("fp32", "spokeshave fp32 2x", "A fp32"), ("best", "spokeshave int8 2x", "B int8")]
    assert [row["speedup_over_best_dense_same_class"] for row in rows] == [2.0, 2.0]
    assert (rows[0]["milliseconds"], rows[0]["best_peer_milliseconds"]) == (2000.0, 4000.0)


def test_plans_leave_the_input_layer_and_narrow_layers_dense_and_meet_the_compression():
    network, _ = make(TINY)
    assert plan_for(network, 1.0, TINY) is None
    smaller = pruned(network, plan_for(network, 8.0, TINY))
    assert int(smaller[0].weight.count_nonzero()) == smaller[0].weight.numel()
    for layer in (smaller[2], smaller[5]):
        kept = layer.weight.flatten(1) != 0
        assert kept.sum() / kept.numel() == pytest.approx(1 / 8, abs=0.01)
        assert torch.equal(kept.view(-1, 8, kept.shape[1]).any(1), kept.view(-1, 8, kept.shape[1]).all(1))
    kernels = (smaller[2].weight != 0).flatten(2)
    assert torch.equal(kernels.any(2).any(0), kernels.all(2).all(0))
    by_fours = pruned(network, plan_for(network, 8.0, TINY, "int8"))[2].weight != 0  # rows, channels, kernel
    assert torch.equal(by_fours.view(32, 4, 4, 3, 3).any(2), by_fours.view(32, 4, 4, 3, 3).all(2))
    whole = Case("tiny", "", small_convolutions, prune_first=True)
    assert kept_share(pruned(network, plan_for(network, 10.0, whole, unstructured=True))) == pytest.approx(
        0.1, abs=0.01
    )


def test_sparse_products_have_the_layers_sizes_and_the_right_results():
    network, inputs = make(CHAINS["bert_qkv"])
    network = nn.Sequential(*list(network)[:2])
    pairs = sparse_products.products(network, trace(network, inputs))
    assert [(matrix.shape, columns.shape) for matrix, columns in pairs] == [((2304, 768), (768, 128))]
    tiny = [(torch.randn(6, 9) * (torch.rand(6, 9) > 0.7), torch.randn(9, 4))]
    assert all(one.error < 1e-5 for one in sparse_products.contenders(tiny, 10.0))


def test_a_run_takes_the_place_of_an_older_one(tmp_path):
    path = tmp_path / "results.json"
    join(path, {"network": "b", "threads": 1, "value": 1}, ("network", "threads"))
    join(path, {"network": "a", "threads": 1, "value": 2}, ("network", "threads"))
    document = join(path, {"network": "b", "threads": 1, "value": 3}, ("network", "threads"))
    assert [(run["network"], run["value"]) for run in document["runs"]] == [("a", 2), ("b", 3)]
    assert json.loads(path.read_text()) == document


def test_a_section_leaves_the_others_as_they_are(tmp_path):
    path = tmp_path / "results.json"
    put(path, {"engines": [1], "worst_error": 0.1})
    put(path, {"selectors": [2]})
    put(path, {"engines": [3], "worst_error": 0.2})
    assert json.loads(path.read_text()) == {"engines": [3], "worst_error": 0.2, "selectors": [2]}


def test_ceiling_functions_count_their_work():
    isa = best_here()
    library = ceilings.build(isa)
    assert library.multiply_add_f32(1000) == 1000 * 12 * isa.lanes * 2
    memory = ctypes.create_string_buffer(8192 + 64)
    aligned = ctypes.addressof(memory) + -ctypes.addressof(memory) % 64
    assert library.load(aligned, 8192, 3) == 3 * 8192


def test_deployments_are_made_once_and_again_for_other_settings(tmp_path, monkeypatch):
    network, inputs = make(TINY)
    makes = Makes(TINY, network, inputs, tmp_path)
    first = makes.one(4.0, "int8")
    monkeypatch.setattr(Makes, "_make", None)
    again = makes.one(4.0, "int8")
    assert torch.equal(again.deployment(*inputs), first.deployment(*inputs))
    assert (again.error, again.kept, again.build_seconds) == (first.error, first.kept, first.build_seconds)
    other = replace(TINY, prune_first=not TINY.prune_first)
    with pytest.raises(TypeError):
        Makes(other, network, inputs, tmp_path).one(4.0, "int8")


def test_the_second_heat_takes_peers_that_came_close_in_the_first(tmp_path):
    labels = {
        "ONNX Runtime fp32": 10,
        "OpenVINO fp32": 11.9,
        "MNN fp32": 12.1,
        "OpenVINO int8": 3,
        "OpenVINO bf16": 4,
    }
    peers = [
        {"label": label, "own": False, "precision": label.split()[-1], "compression": 1, "milliseconds": time}
        for label, time in labels.items()
    ]
    run = {"network": "tiny", "heat": "peers", "threads": 1, "contenders": peers}
    join(tmp_path / "one.json", run, command.KEYS)
    found = trial.close_peers(tmp_path / "one.json", "tiny", 1)
    assert found == ["onnxruntime", "openvino", "openvino_int8"]
    assert trial.close_peers(tmp_path / "one.json", "tiny", 2) == found
    assert trial.close_peers(tmp_path / "one.json", "another", 1) == list(DENSE)


def test_every_contest_is_a_process_with_the_options_given_and_resuming_skips_what_is_there(
    tmp_path, monkeypatch
):
    started = []
    monkeypatch.setattr(
        command.subprocess, "run", lambda words, check: started.append(words) or Namespace(returncode=0)
    )
    path = tmp_path / "one.json"
    join(
        path,
        {"network": "bert_qkv", "heat": "peers", "threads": 1, "contenders": [], "rows": []},
        command.KEYS,
    )
    words = ["bert_qkv", "--threads", "1", "2", "--rounds", "5", "--tune", "--resume", "--output", str(path)]
    monkeypatch.setattr("sys.argv", ["layers.py", *words])
    assert command.main("layers", "About", CHAINS) == 0
    rest = ["--tune", "--rounds", "5", "--output", str(path)]
    assert [words[2:] for words in started] == [
        ["bench.layers", "bert_qkv", "--heat", heat, "--threads", threads, *rest]
        for heat, threads in (("peers", "2"), ("compressions", "1"), ("compressions", "2"))
    ]


def test_every_step_of_the_ablation_switches_what_it_says(arguments, tmp_path):
    subject = ablation.subject(NORMALISED, 4.0, "shuffled", tmp_path)
    run = ablation.measure(subject, arguments)
    every, packed, vectors, rows, reordered, fused, own, tuned = run["steps"]
    assert all(step["max_relative_error"] < 1e-5 for step in run["steps"])
    assert packed["weight_bytes"] < 0.6 * every["weight_bytes"]
    assert packed["kernels"] != vectors["kernels"] != rows["kernels"]
    assert rows["weight_bytes"] > reordered["weight_bytes"]
    assert every["operations"] == reordered["operations"] > fused["operations"] == own["operations"]
    assert tuned["operations"] == own["operations"]


def test_the_page_is_made_from_the_results_alone(arguments, tmp_path):
    command.collect(arguments.output, "About", trial.trial(TINY, "compressions", 1, arguments))
    text = page.page(tmp_path, tmp_path / "page.md")
    assert "$" not in text
    document = json.loads(arguments.output.read_text())
    assert len(document["rows"]) == 4
    assert {"network", "precision", "threads", "compression", "milliseconds"} <= document["rows"][0].keys()
    assert "(networks-1-threads.svg)" in text
    assert (tmp_path / "networks-tiny.svg").read_text().count("<rect") == len(
        document["runs"][0]["contenders"]
    )
    row = document["rows"][0]
    assert f"{row['speedup_over_best_dense_same_class']:.3g}x" in text
    assert re.search(r"resnet50 \| 10x \| not measured, goal 5x \| not measured, goal 4x", text)


def test_the_second_heat_counts_unless_it_lacked_the_best_peer(tmp_path):
    def record(heat, peers, best, speedups):
        rows = [
            {"precision": "fp32", "compression": compression, "best_peer": best, command.SPEEDUP: speedup}
            for compression, speedup in speedups.items()
        ]
        contenders = [{"label": peer} for peer in peers]
        return {"network": "tiny", "heat": heat, "threads": 1, "rows": rows, "contenders": contenders}

    def standings_after(entry):
        command.collect(tmp_path / "one.json", "About", entry)
        rows = json.loads((tmp_path / "one.json").read_text())["rows"]
        return [(row["compression"], row[command.SPEEDUP]) for row in rows]

    standings_after(record("peers", ["A", "B"], "A", {1: 0.9, 10: 9.0}))
    assert standings_after(record("compressions", ["B"], "B", {1: 1.1, 4: 4.4, 10: 8.5})) == [
        *((1, 0.9), (4, 4.4), (10, 8.5))
    ]
    assert standings_after(record("compressions", ["A"], "A", {1: 1.0, 4: 4.0})) == [
        *((1, 1.0), (4, 4.0), (10, 9.0))
    ]


def test_reasons_are_found_by_patterns_and_rows_without_one_say_so():
    row = {
        "network": "conv3x3_64_56",
        "threads": 1,
        "precision": "fp32",
        "compression": 1.0,
        "best_peer": "MNN fp32",
    }
    row["speedup_over_best_dense_same_class"] = 0.8
    reasons = [
        {"names": ["conv3x3_*"], "precision": ["best"], "why": "not this one"},
        {"names": ["conv3x3_*"], "compression": [1], "why": "Winograd"},
    ]
    text = loss_table([{"rows": [row, {**row, "compression": 2.0}]}], reasons)
    assert "| 0.8x of MNN fp32 | Winograd |" in text
    assert text.count("not understood yet") == 1
    assert all(
        {"names", "why"} <= reason.keys() for of in ("losses", "missed") for reason in page.reasons(of)
    )


def test_a_goal_that_is_missed_is_told_beside_the_next_peer():
    row = {"network": "vgg16", "threads": 2, "precision": "fp32", "compression": 10.0, "milliseconds": 10.0}
    row |= {"best_peer": "A fp32", "speedup_over_best_dense_same_class": 4.0}
    row |= {"speedup_lower_quartile": 3.9, "speedup_upper_quartile": 4.1}
    peers = [("A", "fp32", 40.0), ("A", "int8", 15.0), ("B", "fp32", 90.0), ("C", "int8", 20.0)]
    contenders = [
        {"name": name, "precision": precision, "compression": 1.0, "milliseconds": milliseconds}
        for name, precision, milliseconds in [*peers, ("spokeshave", "fp32", 50.0)]
    ]
    document = {"rows": [row], "runs": [{"network": "vgg16", "threads": 2, "contenders": contenders}]}
    goals = [{"names": ["vgg16"], "compression": 10, "fp32": 8.0}]
    text = missed_table([document], [goals], [{"names": ["*"], "why": "because"}])
    assert "| vgg16 | 2 threads | fp32 | 10x | 4x of 6.4x | A fp32 | 9x | because |" in text
    row["speedup_upper_quartile"] = 6.5
    within = "the goal lies within the quartiles of the rounds, 3.9x to 6.5x"
    assert f"| 4x of 6.4x | A fp32 | 9x | {within} |" in missed_table([document], [goals], [])
    row["speedup_over_best_dense_same_class"] = 6.4
    assert missed_table([document], [goals], []) == "None."


def test_an_absent_peer_is_a_row_with_its_reason():
    absent = [{"name": "MNN", "precision": "fp32", "reason": "no such operator"}]
    runs = [{"network": name, "threads": 1, "contenders": [], "absent": absent} for name in ("a", "b")]
    assert "| MNN fp32 | a, b | no such operator |" in absent_table([{"runs": runs}])


def test_rates_count_dense_work_and_shares_the_kept_weights():
    ours = {"name": "spokeshave", "own": True, "precision": "fp32", "compression": 4, "kept_share": 0.25}
    peer = {"name": "A", "own": False, "precision": "fp32", "compression": 1, "kept_share": 1.0}
    contenders = [{**ours, "effective_gflops": 800.0}, {**peer, "effective_gflops": 230.0}]
    document = {"runs": [{"network": "tiny", "threads": 1, "contenders": contenders}]}
    ceilings = {"runs": [{"threads": 1, "ceilings": {"f32_gflops": 250.0}}]}
    assert "| tiny | 230 (A) | 800 (80%) |" in rate_table(document, ceilings, 1, "fp32")


def test_names_of_networks_and_chains_do_not_clash():
    assert not set(CASES) & set(CHAINS)
