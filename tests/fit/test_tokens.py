"""Jobs with token reducers: what is found, what a plan beside them means, and one sentence for each mistake."""

import json

import pytest
import torch
from tests.fit.stopping import assert_resumes

from spokeshave.devices import load_device
from spokeshave.errors import SpokeshaveError
from spokeshave.fit import Recipe, start_run
from spokeshave.fit.inputs import gather
from spokeshave.fit.tokens import at_random, by_staircase, check_tokens, standing, token_budget
from spokeshave.networks import VisionTransformer, digits_network
from spokeshave.plan import Plan
from spokeshave.tokens import Gumbel, Learned, Package, TopK, inserted_in
from spokeshave.tokens.registry import reducer_of

HOST, IMAGE = load_device("host"), torch.zeros(1, 1, 8, 8)


def recipe(*tokens, **changes):
    return Recipe.parse({"network": "digits-transformer", "data": "digits", "tokens": list(tokens)} | changes)


def transformer():
    return VisionTransformer(1, 8, 2, width=16, heads=2, blocks=4, classes=3)


def test_names_and_settings_become_reducers():
    found = check_tokens(
        recipe(
            {"before": 2, "keep": 0.35, "rest": {"name": "package", "single": True}},
            {"before": 1, "keep": 0.7, "decision": {"name": "gumbel", "temperature": 0.5}},
        ),
        transformer(),
        IMAGE,
        HOST,
    )
    first, second = map(reducer_of, found)
    assert (first.before, first.decision, second.before) == (1, Gumbel(temperature=0.5), 2)
    assert (second.scorer, second.rest) == (Learned(), Package(single=True))
    assert [one["keep"] for one in found] == [0.7, 0.35]


def test_shares_are_of_all_patches():
    entries = [
        {"before": place, "keep": keep, "scorer": "class_attention"} for place, keep in ((1, 0.5), (3, 0.25))
    ]
    found = check_tokens(recipe(*entries), transformer(), IMAGE, HOST)
    assert [reducer_of(one).decision for one in found] == [TopK(0.5), TopK(0.5)]
    network = transformer().eval()
    with standing(network, found, 0):
        network(torch.randn(1, 1, 8, 8))
        assert [int(kept.sum()) for kept in inserted_in(network).kept] == [8, 4]
    with pytest.raises(SpokeshaveError, match="no token reducers"):
        inserted_in(network)


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([{"before": 1}], "recipe: tokens.0: a reducer needs before and keep, or limit alone"),
        ([{"limit": 0.5, "keep": 0.5}], "recipe: tokens.0: limit finds before and keep; leave those out"),
        ([{"before": 1, "keep": 0}], r"recipe: tokens.0.keep: input should be greater than 0 \(got 0\)"),
        (
            [{"before": 1, "kept": 1}],
            "recipe: there is no key 'tokens.0.kept'; known ones are before, keep, limit",
        ),
        ([], "recipe: tokens: value should have at least 1 item"),
    ],
)
def test_keys_that_do_not_fit(entries, sentence):
    with pytest.raises(SpokeshaveError, match=f"^{sentence}"):
        recipe(*entries)


ONE = {"before": 1, "keep": 0.5}


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        (
            [ONE | {"scorer": "magic"}],
            "tokens.0: there is no scorer 'magic'; known ones are class_attention,",
        ),
        (
            [ONE | {"rest": {"name": "drop", "half": 1}}],
            "tokens.0: the rest drop has no setting 'half'; it has none",
        ),
        ([ONE | {"decision": {"name": "top_k", "keep": 1}}], "tokens.0: the decision's keep follows from"),
        (
            [ONE | {"decision": "maybe"}],
            "tokens.0: there is no decision 'maybe'; known ones are top_k, threshold",
        ),
        ([ONE, {"before": 2, "keep": 0.6}], "tokens.1.keep: 0.6 is above the 0.5 of the reducer in front"),
        (
            [ONE, {"before": 2, "keep": 0.4, "decision": "top_k"}],
            "tokens: either all reducers decide by top_k",
        ),
        ([ONE, {"limit": 0.5}], "tokens: limit places all reducers; give it alone"),
        (
            [ONE, {"before": 2, "keep": 0.4, "scorer": "received_attention", "decision": "threshold"}],
            "TokenReducer before block 2: ReceivedAttention.* before block 1 leaves another number",
        ),
        ([ONE | {"before": 9}], "TokenReducer before block 9: the network has 4 blocks, 0 to 3"),
    ],
)
def test_reducers_that_cannot_be(entries, sentence):
    with pytest.raises(SpokeshaveError, match=f"^{sentence}"):
        check_tokens(recipe(*entries), transformer(), IMAGE, HOST)


def test_no_transformer_and_no_device_for_tokens():
    with pytest.raises(SpokeshaveError, match="no list of alike blocks was found"):
        check_tokens(recipe(ONE), digits_network(), IMAGE, HOST)
    with pytest.raises(
        SpokeshaveError, match="tokens: isaac is a model without token counts; fit tokens for host"
    ):
        gather(recipe(ONE, device="isaac"))


def test_random_reducers_keep_as_many():
    found = check_tokens(recipe(ONE, {"before": 2, "keep": 0.25}), transformer(), IMAGE, HOST)
    network = transformer().eval()
    with standing(network, at_random(found, 3), 3):
        network(torch.randn(2, 1, 8, 8))
        assert [kept.sum(1).tolist() for kept in inserted_in(network).kept] == [[8, 8], [4, 4]]


@pytest.mark.slow
def test_a_limit_is_met_by_the_staircase():
    device, images = load_device("raspberry-pi-4"), torch.randn(8, 1, 16, 16)
    network = VisionTransformer(1, 16, 2, width=96, heads=2, blocks=4, classes=3)
    (entry,) = recipe({"limit": 0.8}).tokens
    budget = token_budget(entry, network, images[:1], device)
    found = by_staircase(entry, network, budget, [(images, torch.zeros(8))])
    seconds = found["blocks_seconds"]
    assert found["staircase"]["kind"] == "modelled"
    assert seconds["expected"] <= seconds["limit"] == pytest.approx(0.8 * seconds["all_tokens"])
    with standing(network, found["tokens"], 0):
        assert len(inserted_in(network).reducers) == len(found["tokens"]) > 0
    (entry,) = recipe({"limit": 0.01}).tokens
    with pytest.raises(
        SpokeshaveError, match=r"tokens.limit: 0.01 .* on raspberry-pi-4; the lowest is 0\.\d+ .mod"
    ):
        token_budget(entry, network, images[:1], device)


@pytest.fixture(scope="module")
def pruned(token_job, tmp_path_factory):
    """Weights and tokens together."""
    plan = tmp_path_factory.mktemp("plan") / "plan.yaml"
    Plan.for_compression(transformer(), 2, block=(4, 8)).save(plan)
    entries = [{"before": 2, "keep": 0.5, "scorer": "class_attention"}]
    tokens = Recipe.parse(token_job.model_dump(exclude_none=True) | {"tokens": entries, "plan": str(plan)})
    return start_run(tokens, plan.parent / "run")


@pytest.mark.slow
def test_a_plan_beside_reducers_of_a_fixed_count(pruned):
    assert 1.8 < pruned["compression"] < 2.2
    (reducer,) = pruned["tokens"]["reducers"]
    assert pruned["tokens"]["all_tokens"] == 17
    assert reducer["tokens"]["images"] == [[9, 1]]
    assert reducer["decision"] == {"name": "top_k", "keep": 0.5}


@pytest.fixture(scope="module")
def learned(token_job, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned") / "run"
    return folder, start_run(token_job, folder)


@pytest.mark.slow
def test_learned_reducers_leave_what_they_were_told_to(learned):
    folder, result = learned
    assert json.loads((folder / "result.json").read_text()) == result
    tokens = result["tokens"]
    assert result["compression"] == 1
    assert [one["decision"]["name"] for one in tokens["reducers"]] == ["threshold", "threshold"]
    for one, expected, packages in zip(tokens["reducers"], (0.7, 0.4), (1, 2), strict=True):
        counts = one["tokens"]
        assert sum(images for _, images in counts["images"]) == result["held_out_samples"] == 48
        assert counts["mean"] == pytest.approx(1 + packages + 16 * expected, abs=2)
        assert counts["least"] <= counts["mean"] <= counts["tail"] <= counts["most"]
    assert tokens["samples_of_other_counts"] <= 2
    assert min(tokens["image_seconds"][name] for name in ("mean", "tail")) > 0
    assert result["deployment_accuracy"] > 0.6


@pytest.mark.slow
def test_a_run_with_reducers_resumes(token_job, learned, tmp_path):
    assert_resumes(token_job, *learned, tmp_path / "parts")
