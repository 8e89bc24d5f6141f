"""Recipes: round trip, and one sentence for each mistake."""

import pytest

from spokeshave.errors import SpokeshaveError
from spokeshave.fit import builtin_plan_names, builtin_recipe, builtin_recipe_names
from spokeshave.fit.recipe import Recipe

SMALL = {"network": "digits", "data": "digits", "compression": 8}


def test_round_trip():
    recipe = Recipe.parse(
        SMALL | {"epochs": {"dense": 3}, "settings": {"rho": 0.5, "update_every": 2}, "peers": ["eager"]}
    )
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_yaml(recipe.to_yaml()).digest == recipe.digest


def test_every_entry_counts():
    digests = {
        Recipe.parse(SMALL | change).digest
        for change in (
            {},
            {"seed": 1},
            {"epochs": {"dense": 1}},
            {"distillation": False},
            {"settings": {"rho": 1.0}},
            {"examples": {}},
            {"examples": {"keep": 0.5}},
        )
    }
    assert len(digests) == 7


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"plan": "plan.yaml"}, "exactly one of plan and compression must be given"),
        ({"epoch": 3}, "there is no key 'epoch'; known ones are network, data,"),
        ({"epochs": {"dens": 3}}, "there is no key 'epochs.dens'; known ones are dense, method, fine_tune"),
        ({"epochs": {"dense": -1}}, r"epochs.dense: input should be greater than or equal to 0 \(got -1\)"),
        ({"compression": 0.5}, r"compression: input should be greater than 1 \(got 0.5\)"),
        ({"method": "magic"}, "method: input should be 'admm', 'during_training', 'one_shot'"),
        ({"examples": {"keep": 0}}, r"examples.keep: input should be greater than 0 \(got 0\)"),
        ({"examples": {"kept": 1}}, "there is no key 'examples.kept'; known ones are keep, swap, score"),
        ({"network": None}, "network: input should be a valid string"),
    ],
)
def test_mistakes(change, sentence):
    with pytest.raises(SpokeshaveError, match=f"^recipe: {sentence}"):
        Recipe.parse(SMALL | change)


@pytest.mark.parametrize(
    ("text", "sentence"), [("a: [", "is not YAML"), ("- 1", "must be a mapping"), ("", "must be")]
)
def test_no_mapping(text, sentence):
    with pytest.raises(SpokeshaveError, match=f"^mine.yaml {sentence}"):
        Recipe.from_yaml(text, "mine.yaml")


def test_built_in_recipes_name_plans_that_exist():
    assert "digits" in builtin_recipe_names()
    for name in builtin_recipe_names():
        assert builtin_recipe(name).plan in (None, *builtin_plan_names())
    with pytest.raises(SpokeshaveError, match="no recipe 'digit'; known ones are"):
        builtin_recipe("digit")


def test_what_a_device_proposes_gives_way_to_what_was_given():
    mine = {"network": "digits", "data": "digits"}
    free = Recipe.parse(mine).trained_by("quantization_aware", last=True)
    assert (free.method, free.epochs.fine_tune) == ("quantization_aware", 0)
    given = Recipe.parse(mine | {"method": "admm", "epochs": {"fine_tune": 3}})
    assert given.trained_by("quantization_aware", last=True) == given
    longer = Recipe.parse(mine | {"epochs": {"fine_tune": 3}}).trained_by("quantization_aware", last=True)
    assert (longer.method, longer.epochs.fine_tune) == ("quantization_aware", 3)
