"""The parts of the checks of recurrent schemes: data, masks, pruning, what is read off the records."""

import sys
from math import prod

import pytest
import torch
from papers.deployments import Store
from papers.layerwise import AtRandom
from papers.masks import block_structured, compressed_blocks
from papers.pruning import QUICK, by_admm, plan_of, realised_density
from papers.speech_trials import borne
from torch import nn

from papers import csb_integers, csb_rnn, darb, grim, keywords, rtmobile, speech
from spokeshave.compiler import compile_network
from spokeshave.data import Batches, Data
from spokeshave.errors import SpokeshaveError
from spokeshave.locate import data_folder
from spokeshave.measure.accuracy import evaluate


def absent(name):
    raise SpokeshaveError(f"there is no folder {name}")


@pytest.fixture
def without_data(monkeypatch):
    """Only what ships with packages: scikit-learn's digits."""
    for module in (speech, keywords):
        monkeypatch.setattr(module, "data_folder", absent)
    monkeypatch.setattr(sys.modules["spokeshave.data.cifar10"], "data_folder", absent)


@pytest.fixture
def kws_data():
    try:
        data_folder("kws_models")
    except SpokeshaveError as reason:
        pytest.skip(str(reason))


@pytest.mark.slow
@pytest.mark.parametrize("script", [grim, rtmobile], ids=lambda script: script.__name__)
def test_a_quick_run_judges_every_claim(script, without_data):
    check = script.run(quick=True)
    assert check.findings
    assert all(finding.measured for finding in check.findings)


def test_differences_of_a_ramp_are_its_slope():
    ramp = torch.arange(20.0)[:, None] * torch.tensor([1.0, -3.0])
    features = speech._with_differences(ramp)
    assert torch.equal(features[2:-2, 2:4], torch.tensor([1.0, -3.0]).expand(16, 2))
    assert not features[4:-4, 4:].any()


def test_chunks_follow_each_other():
    lengths = [17, 40, 30]
    labels = list(torch.arange(sum(lengths)).split(lengths))
    frames, phones = speech._chunks([part.float()[:, None] for part in labels], labels)
    assert torch.equal(phones.flatten(), torch.arange(sum(lengths) // speech.STEPS * speech.STEPS))
    assert torch.equal(frames[..., 0].long(), phones)


def test_the_keyword_network_still_knows_its_words(kws_data):
    words = keywords.keywords(seed=0)
    listener = keywords.Listener(words.cell.eval(), words.cell.hidden)
    assert evaluate(listener, words.clips.held_out).top1 > 0.93
    deployment = compile_network(words.cell, words.example)
    clips, _ = next(iter(words.clips.held_out))
    with torch.inference_mode():
        heard = keywords.Listener(deployment, words.cell.hidden)(clips[:5])
        assert torch.allclose(heard, listener(clips[:5]), atol=1e-3)


def test_a_mask_at_random_depends_on_the_seed_alone():
    scheme = compressed_blocks(4, block=8)[0]((24, 16))
    first, second = torch.randn(24, 16), torch.randn(24, 16)
    kept = AtRandom(scheme, 0).project(first)
    assert scheme.contains(kept)
    assert torch.equal(kept != 0, AtRandom(scheme, 0).project(second) != 0)
    assert not torch.equal(kept != 0, AtRandom(scheme, 1).project(first) != 0)
    assert torch.equal(AtRandom(scheme, 0).project(kept), kept)


def test_the_second_step_of_admm_keeps_the_first_ones_zeros():
    torch.manual_seed(0)
    network, inputs = nn.Sequential(nn.Linear(64, 64)), torch.randn(32, 64)
    data = Data([(inputs, torch.arange(32) % 64)], [], 64, "noise")
    first, both = (plan_of(network, ["0.weight"], step) for step in block_structured(4, 2))
    by_admm(network, data, [first, both], QUICK, 0, nn.functional.cross_entropy)
    weight = network.get_parameter("0.weight").detach()
    assert both.rules[0].scheme.contains(weight)
    assert int(weight.any(1).sum()) == 32
    assert int(weight.any(0).sum()) == 16
    assert realised_density(network, ["0.weight"]) == pytest.approx(1 / 8)


def records(label, density, values):
    """What trials of one scheme leave, seed by seed."""
    about = {"scheme": label, "density": density, "weights": 1000, "packed_bytes": 5000 * density}
    about["weight_bytes"] = about["packed_bytes"]
    return [about | {"test": value, "seed": seed} for seed, value in enumerate(values)]


def test_the_rate_that_a_scheme_bears_is_read_between_rates():
    found = borne(
        records("dense", 1.0, [0.7, 0.72])
        + records("CSB 4x", 0.25, [0.71, 0.71])
        + records("CSB 16x", 1 / 16, [0.69, 0.69])
        + records("rows 4x", 0.25, [0.67, 0.69])
    )
    assert found == {"CSB": pytest.approx(8.0), "rows": pytest.approx(4 ** (1 / 3), abs=0.01)}


WHOLE = {"whole_layers": 1, "floats": 0, "accumulator_bits": 20}


def searched(rates, times):
    """What a search leaves that ended at these rates, and times of a step there."""
    found = {"dense": "dense"} | {name: f"{name} {rate:g}x" for name, rate in rates.items()}
    trials = [one for name, rate in rates.items() for one in records(found[name], 1 / rate, [0.6, 0.6])]
    at = {name: f"{name} {csb_rnn.RATE}x" for name in csb_rnn.BESIDE}
    trials += [one for label in at.values() for one in records(label, 1 / csb_rnn.RATE, [0.5, 0.5])]
    clocked = {found[name]: time for name, time in times.items()} | dict.fromkeys(at.values(), 3.0)
    return {
        "found": found,
        "trials": records("dense", 1.0, [0.6, 0.6]) + trials,
        "microseconds_per_step": {"dense": 9.0, **clocked, at["CSB"]: 2.0},
        "index": {"CSB": {"bits": 1.0, "entries": 0.2}, "CSB as CSR": {"bits": 7.0, "entries": 1.1}},
        "integers": [WHOLE | one for one in records("integers-shift", 0.1, [0.5, 0.5])],
    }


@pytest.mark.parametrize(
    ("csb", "verdict"), [(16.0, "reproduced"), (8.0, "differs"), (5.0, "not reproduced")]
)
def test_csb_is_judged_by_the_best_of_the_others(csb, verdict):
    rates = {"CSB": csb, "BSP": 6.0, "BBS": 4.0, "rows": 2.0, "columns": 1.5}
    times = {"CSB": 12 / csb, "BSP": 2.0, "BBS": 3.0, "rows": 4.0, "columns": 5.0}
    higher, short, whole, sooner, faster, *accuracies = csb_rnn.judgements(
        csb_rnn.Subject("gru", 8), searched(rates, times)
    )
    assert higher.verdict == verdict
    assert sooner.verdict == ("reproduced" if csb > 6 else "not reproduced")
    assert {short.verdict, whole.verdict, faster.verdict} == {"reproduced"}
    assert [one.verdict for one in accuracies] == ["not reproduced"] * 3  # all alike


def test_a_scheme_without_a_rate_is_the_dense_network():
    found = searched(
        dict.fromkeys(("CSB", "BSP", "BBS", "rows"), 4.0), dict.fromkeys(("CSB", "BSP", "BBS", "rows"), 2.0)
    )
    found["found"]["columns"] = "dense"
    higher, *_ = csb_rnn.judgements(csb_rnn.Subject("gru", 8), found)
    assert "columns 1.0x" in higher.measured


@pytest.mark.parametrize(
    ("values", "verdict"), [([0.598, 0.598], "reproduced"), ([0.59, 0.59], "not reproduced")]
)
def test_whole_numbers_may_lose_half_a_point(values, verdict):
    found = {
        "trials": records("CSB 10x", 0.1, [0.6, 0.6]),
        "integers": [WHOLE | one for one in records("integers-shift", 0.1, values)],
    }
    subject = csb_rnn.Subject("gru", 8)
    assert csb_integers.judgement(subject, "CSB 10x", found).verdict == verdict
    found["integers"][0]["floats"] = 1
    assert csb_integers.judgement(subject, "CSB 10x", found).verdict == "not reproduced"


@pytest.mark.parametrize("height", [384, 512])  # gates of 128 units
def test_everything_that_is_compared_at_a_rate_keeps_as_much(height):
    rate = csb_rnn.RATE
    for name, steps in csb_rnn.schemes(rate).items():
        if name == "BBS":
            continue  # 3 of 32 are nearest
        for shape in ((height, 39), (height, 128)):
            kept = steps[-1](shape).project(torch.randn(shape)).count_nonzero() / prod(shape)
            assert float(kept) * rate == pytest.approx(1, rel=0.01), (name, shape)


@pytest.mark.parametrize("rate", rtmobile.BESIDE)
def test_what_rtmobile_compares_keeps_as_much_in_both_matrices_together(rate):
    shapes = [(384, 39), (384, 128)]
    total = sum(prod(shape) for shape in shapes)
    for label, (steps, _) in rtmobile.compared((rate,), (rate,)).items():
        if steps:
            kept = sum(int(steps[-1](shape).project(torch.randn(shape)).count_nonzero()) for shape in shapes)
            assert kept * rate / total == pytest.approx(1, rel=0.01), label


def test_bsp_is_free_only_where_that_is_shown():
    def found(bsp):
        at = {
            "dense": [0.6, 0.62],
            f"BSP {rtmobile.MAIN}x": bsp,
            f"unstructured {rtmobile.MAIN}x": [0.6, 0.62],
        }
        at |= {f"{name} {rtmobile.MAIN}x": [0.5, 0.52] for name in ("rows", "columns", "random BSP")}
        at["BSP 301x"] = [0.55, 0.57]
        trials = [one for label, values in at.items() for one in records(label, 0.1, values)]
        times = {"dense": 3.0, f"BSP {rtmobile.MAIN}x": 2.0, "BSP 301x": 1.0}
        data = {"trials": trials, "wider": [], "microseconds_per_step": times}
        return [finding.verdict for finding in rtmobile.findings(data)]

    assert found([0.598, 0.618]) == ["reproduced"] * 4
    assert found([0.61, 0.59])[0] == "not reproduced"


def test_darb_is_judged_by_its_order_and_by_time():
    accuracies = {
        "unstructured": 0.6,
        "DARB": 0.58,
        "BBS": 0.575,
        "BMWM": 0.57,
        "blocks": 0.5,
        "rows": 0.4,
        "random DARB": 0.5,
    }
    trials = records("dense", 1.0, [0.61, 0.62])
    for name, value in accuracies.items():
        trials += records(f"{name} 1:16", 1 / 16, [value, value + 0.01])
    data = {
        "trials": trials,
        "row_densities": [0.01, 0.05, 0.2],
        "rates": borne(trials),
        "microseconds_per_step": {record["scheme"]: 1.0 for record in trials} | {"blocks 1:16": 0.5},
    }
    verdicts = [finding.verdict for finding in darb.findings(data, (16,))]
    assert verdicts[:2] == ["reproduced", "reproduced"]
    assert verdicts[3] == "not reproduced"
    data["trials"] = [record for record in trials if "rows" not in record["scheme"]]
    data["trials"] += records("rows 1:16", 1 / 16, [0.7, 0.71])
    assert darb.findings(data, (16,))[1].verdict == "not reproduced"


def test_trials_are_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"test": 0.5}, compile_network(nn.Linear(4, 3), torch.ones(1, 4))

    kept = Store(tmp_path)
    first, again = (kept.trial("a", ("settings", 1), make) for _ in range(2))
    assert made == [1]
    assert first.record == again.record == {"test": 0.5}
    assert again.deployment(torch.ones(2, 4)).shape == (2, 3)
    kept.trial("a", ("settings", 2), make)
    assert len(made) == 2


def test_frames_are_judged_one_by_one():
    batches = Batches(torch.eye(4).repeat(2, 1, 1), torch.tensor([[0, 1, 2, 3], [0, 1, 0, 0]]), 1)
    assert speech.frame_accuracy(nn.Identity(), batches) == 6 / 8
