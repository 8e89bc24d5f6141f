"""A recipe's method, with its settings and criterion."""

import pytest
import torch

from spokeshave.criteria import BlockFisher, InputNorm
from spokeshave.data import Batches, Data, digits
from spokeshave.devices import load_device
from spokeshave.errors import SpokeshaveError
from spokeshave.fit import builtin_recipe, builtin_recipe_names
from spokeshave.fit.inputs import METHODS, check_examples, gather, method_config
from spokeshave.fit.recipe import Recipe
from spokeshave.methods import ADMM, OneShot

BATCHES = Batches(torch.zeros(20, 3), torch.zeros(20).long(), 5)


def config(**recipe):
    recipe = Recipe(network="digits", data="digits", compression=4, **recipe)
    return method_config(recipe, digits(), load_device("host"))


def test_a_criterion_is_named_and_given_the_training_data():
    method = config(method="one_shot", settings={"criterion": "input_norm"})
    assert isinstance(method, OneShot)
    assert method.criterion == InputNorm()
    assert len(next(iter(method.batches))) == 2
    assert config(method="one_shot").criterion is None


def test_a_criterion_has_settings():
    settings = {"criterion": {"name": "block_fisher", "block": [8, 64], "passes": 2}}
    assert config(method="one_shot", settings=settings).criterion == BlockFisher((8, 64), passes=2)


def test_every_method_can_be_named():
    made = {name: config(method=name, epochs={"method": 8}) for name in METHODS}
    assert [type(method) for method in made.values()] == list(METHODS.values())
    assert (made["during_training"].choose_at, made["during_training"].cut_at) == (2, 6)


def test_settings_reach_the_method():
    assert config(method="admm", settings={"rho": 0.25}) == ADMM(rho=0.25)


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (
            {"method": "one_shot", "settings": {"criterion": "weight"}},
            "no criterion 'weight'; known ones are magn",
        ),
        (
            {"method": "one_shot", "settings": {"criterion": "block_fisher"}},
            r"block_fisher needs block: write \{name: block_fisher, block",
        ),
        (
            {"method": "one_shot", "settings": {"criterion": {"name": "block_fisher", "block": 8}}},
            "block must be two positive whole numbers, not 8",
        ),
        (
            {"method": "one_shot", "settings": {"criterion": {"name": "random", "passes": 2}}},
            "criterion random has no setting 'passes'; its settings are seed",
        ),
        ({"method": "admm", "settings": {"criterion": "taylor"}}, "admm has no setting 'criterion'"),
        ({"method": "one_shot", "settings": {"batches": 3}}, "one_shot has no setting 'batches'"),
    ],
)
def test_mistakes_are_one_sentence(recipe, sentence):
    with pytest.raises(SpokeshaveError, match=sentence):
        config(**recipe)


@pytest.mark.parametrize(
    ("examples", "data", "sentence"),
    [
        ({"keep": 0.9, "swap": 0.5}, BATCHES, "swap must be from 0 to 0.1"),
        ({"score": "luck"}, BATCHES, "there is no score 'luck'"),
        ({}, [(torch.zeros(2, 3), torch.zeros(2))], "examples of list have no numbers"),
    ],
)
def test_examples_that_cannot_be_left_out_are_one_sentence(examples, data, sentence):
    recipe = Recipe.parse({"network": "digits", "data": "digits", "compression": 8, "examples": examples})
    with pytest.raises(SpokeshaveError, match=sentence):
        check_examples(recipe, Data(data, data, 2, "mine"))


@pytest.mark.parametrize("name", [name for name in builtin_recipe_names() if name.startswith("digits")])
def test_built_in_recipes_suit_their_devices(name):
    inputs = gather(builtin_recipe(name))
    assert inputs.schemes or inputs.reducers
    if inputs.device.kind == "modelled":
        assert inputs.device.cost(inputs.workload, inputs.plan).latency_seconds > 0
