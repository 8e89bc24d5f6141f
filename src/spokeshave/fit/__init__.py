"""The whole job, from a network to a report, in a run folder that can be resumed."""

from spokeshave.fit.builtin import builtin_plan, builtin_plan_names, builtin_recipe, builtin_recipe_names
from spokeshave.fit.job import resume_run, start_run
from spokeshave.fit.recipe import Epochs, LearningRates, Recipe
from spokeshave.fit.run_folder import RunFolder, open_run

__all__ = [
    "Epochs",
    "LearningRates",
    "Recipe",
    "RunFolder",
    "builtin_plan",
    "builtin_plan_names",
    "builtin_recipe",
    "builtin_recipe_names",
    "open_run",
    "resume_run",
    "start_run",
]
