"""The plans and recipes that come with the package, as YAML files."""

from importlib import resources
from importlib.resources.abc import Traversable

from spokeshave.errors import SpokeshaveError
from spokeshave.fit.recipe import Recipe
from spokeshave.plan import Plan


def builtin_plan_names() -> list[str]:
    """Names of the plans that come with the package."""
    return _names("plans")


def builtin_plan(name: str) -> Plan:
    """A plan that comes with the package."""
    return Plan.from_yaml((_folder("plans") / f"{name}.yaml").read_text(), source=f"{name}.yaml")


def builtin_recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    return _names("recipes")


def builtin_recipe(name: str) -> Recipe:
    """A recipe that comes with the package; raises SpokeshaveError for an unknown name."""
    if name not in builtin_recipe_names():
        raise SpokeshaveError(
            f"there is no recipe {name!r}; known ones are {', '.join(builtin_recipe_names())}"
        )
    return Recipe.from_yaml((_folder("recipes") / f"{name}.yaml").read_text(), source=f"{name}.yaml")


def _names(folder: str) -> list[str]:
    files = [path.name for path in _folder(folder).iterdir()]
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def _folder(name: str) -> Traversable:
    return resources.files("spokeshave.fit") / name
