"""The index of published systems, what a check writes, and the shares that OPQ's check compares with."""

import json
import re
import tomllib
from dataclasses import replace

import pytest
from papers.record import HERE, Check, Finding, add, table, take_no_arguments, write
from torch import nn

from papers import opq
from spokeshave.weights import weights_of

INDEX = tomllib.loads((HERE / "index.toml").read_text())
CHECKED = [name for name, about in INDEX.items() if about.get("check")]


def test_every_system_is_there_once():
    identifiers = [re.search(r"arXiv (\d{4}\.\d{5})", about["source"]).group(1) for about in INDEX.values()]
    assert len(identifiers) == len(set(identifiers)) == 28
    assert set(CHECKED) <= {path.stem for path in HERE.glob("*.py")}


@pytest.mark.parametrize("path", sorted((HERE / "results").glob("*.json")), ids=lambda path: path.stem)
def test_a_result_has_its_claims_and_where_it_was_measured(path):
    document = json.loads(path.read_text())
    assert document["name"] == path.stem
    assert path.stem in CHECKED
    assert document["findings"]
    assert {finding["verdict"] for finding in document["findings"]} <= {
        "reproduced",
        "not reproduced",
        "differs",
    }
    assert document["machine"]["cpu"]
    assert len(document["seeds"]) >= 3


def test_a_check_is_written_whole(tmp_path):
    check = Check((Finding("it is fast", "", "1 s", "reproduced"),), ("smaller",), (0,), {"rows": [1.5]})
    write("made_up", check, tmp_path / "results" / "made_up.json")
    document = json.loads((tmp_path / "results" / "made_up.json").read_text())
    assert document["findings"][0]["claim"] == "it is fast"
    assert document["findings"][0]["control"] is False
    assert document["data"] == {"rows": [1.5]}
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["made_up.json"]


def test_a_control_of_ours_is_told_from_the_papers_claims():
    finding = Finding("it beats chance", "", "1 %", "reproduced", control=True)
    _, _, _, verdicts, _ = table("made_up", [finding, replace(finding, control=False)]).columns
    assert list(verdicts.cells) == ["reproduced (our control)", "reproduced"]


def test_further_parts_of_a_result_outlive_a_full_run(tmp_path):
    path = tmp_path / "made_up.json"

    def finding(claim, measured):
        return Finding(claim, "", measured, "reproduced")

    check = Check((finding("it is fast", "1 s"),), (), (0,), {"rows": [1.5]})
    write("made_up", check, path)
    add(path, "wide: ", [finding("wide: it is fast", "2 s")], "wide", {"rows": [2.5]})
    add(path, "wide: ", [finding("wide: it is faster", "3 s")], "wide", {"rows": [3.5]})
    again = replace(check, findings=(finding("it is fast", "4 s"),), data={"rows": [4.5]})
    write("made_up", again, path)
    document = json.loads(path.read_text())
    assert [(one["claim"], one["measured"]) for one in document["findings"]] == [
        ("it is fast", "4 s"),
        ("wide: it is faster", "3 s"),
    ]
    assert document["data"]["rows"] == [4.5]
    assert document["data"]["wide"]["rows"] == [3.5]


@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_random_shares_have_the_networks_sparsity(sparsity):
    network = nn.Sequential(nn.Linear(40, 60), nn.Linear(60, 30), nn.Linear(30, 200))
    plan = opq.random_plan(network, sparsity, seed=3)
    sizes = {weight.parameter: weight.shape[0] * weight.shape[1] for weight in weights_of(network)}
    kept = sum(sizes[rule.pattern] * (1 - rule.scheme.sparsity if rule.scheme else 1) for rule in plan.rules)
    assert kept / sum(sizes.values()) == pytest.approx(1 - sparsity, abs=1e-3)


def test_further_parts_refuse_what_they_do_not_know(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lpvit_sweeps", "--seed", "1"])
    with pytest.raises(SystemExit, match="2"):
        take_no_arguments("About.")
    assert "unrecognized arguments: --seed 1" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["lpvit_sweeps", "--help"])
    with pytest.raises(SystemExit, match="0"):
        take_no_arguments("About.")
    assert "About." in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.stem)
def test_what_can_be_run_reads_its_command_line(path):
    text = path.read_text()
    reads = ("take_no_arguments(__doc__)", "parse_args()", f'main("{path.stem}", __doc__')
    assert '== "__main__"' not in text or any(one in text for one in reads)
