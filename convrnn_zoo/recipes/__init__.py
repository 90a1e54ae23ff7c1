"""Recipes: everything that determines a set of weights, as dataclasses, as TOML files, and as texts to start from.

A recipe names a model, a dataset, a loss, and the settings of training, and runs nothing.
"""

from .augment import Augment
from .fields import describe_fields
from .recipe import RECIPES, ClassifierRecipe, ForecasterRecipe, Recipe, find_recipe
from .sampling import SAMPLINGS, read_sampling
from .starter import starting_recipe

__all__ = [
    "RECIPES",
    "SAMPLINGS",
    "Augment",
    "ClassifierRecipe",
    "ForecasterRecipe",
    "Recipe",
    "describe_fields",
    "find_recipe",
    "read_sampling",
    "starting_recipe",
]
