"""`spokeshave papers`: the list, and the refusals of `run`."""

import json

from spokeshave.cli import papers


def test_the_list_has_every_system_with_its_state(spokeshave):
    code, out, _ = spokeshave("papers", "--json")
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert len(entries) == 28
    for entry in entries.values():
        assert bool(entry["date"]) == ("claims reproduced" in entry["state"])
    assert entries["compvqc"]["state"] == "no check yet"
    assert "controls of ours" in entries["opq"]["state"]
    code, out, _ = spokeshave("papers")
    assert code == 0
    assert "OPQ" in out


def test_what_cannot_be_run_is_one_sentence(spokeshave, tmp_path, monkeypatch):
    for name, sentence in (
        ("opk", "there is no system 'opk'"),
        ("compvqc", "compvqc has no check yet; there are"),
    ):
        code, _, err = spokeshave("papers", "run", name)
        assert code == 2
        assert sentence in err
    monkeypatch.setattr(papers, "CHECKOUT", tmp_path)
    code, _, err = spokeshave("papers")
    assert code == 2
    assert "in the repository, not in the installed package" in err
