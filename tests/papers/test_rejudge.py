"""Verdicts of the results that are kept are those of the rule as it is now."""

import json

import pytest
from papers.rejudge import CHECKS, HERE, rejudged


@pytest.mark.parametrize("name", CHECKS)
def test_the_verdicts_on_record_are_todays(name):
    document = json.loads((HERE / "results" / f"{name}.json").read_text())
    assert rejudged(document, CHECKS[name]) == (document, [])


def test_a_verdict_of_another_rule_is_changed_and_nothing_else():
    document = json.loads((HERE / "results" / "darb.json").read_text())
    first, *others = document["findings"]
    opposite = {"reproduced": "not reproduced", "not reproduced": "reproduced"}[first["verdict"]]
    wrong = document | {"findings": [first | {"verdict": opposite}, *others]}
    assert rejudged(wrong, CHECKS["darb"]) == (document, [f"{first['claim']}: {first['verdict']}"])


def test_a_result_without_a_claim_is_refused():
    document = json.loads((HERE / "results" / "darb.json").read_text())
    with pytest.raises(ValueError, match="darb: not in its result, run the check again"):
        rejudged(document | {"findings": document["findings"][1:]}, CHECKS["darb"])
