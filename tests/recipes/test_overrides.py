"""Keys of a recipe that are set on the command line."""

import re

import pytest

from convrnn_zoo.recipes import Recipe
from tests.helpers.command_line import run
from tests.helpers.data.own_data import RADAR


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "radar.toml"
    path.write_text(RADAR)
    return path


@pytest.mark.parametrize(
    ("text", "value"), [("mae", "mae"), ('"mae"', "mae"), ("'mse+mae'", "mse+mae"), ("mse+mae", "mse+mae")]
)
def test_a_string_of_one_word_needs_no_quotes(text, value, file):
    assert Recipe.read(file, [f"loss={text}"]).loss == value


@pytest.mark.parametrize("key", ["init_from", "description"])
@pytest.mark.parametrize(
    "text",
    ["hf-hub:me/rain@main", "~/x", r"C:\runs\x", "%", "°C", "^([^/]+)/", "https://a.org/b?c=1&d=2#e", "2020-01-01"],
)
def test_every_word_that_is_no_other_value_is_a_string(key, text, file):
    assert getattr(Recipe.read(file, [f"{key}={text}"]), key) == text


@pytest.mark.parametrize("text", ["two words", "'open", '"open', "[a", "{a", ""])
def test_other_strings_need_quotes_as_the_error_says(text, file):
    with pytest.raises(ValueError, match="not valid TOML") as error:
        Recipe.read(file, [f"description={text}"])
    assert """--set 'description="a b"'""" in str(error.value)


def test_a_dataset_that_is_named_only_gets_a_table():
    recipe = Recipe.read("moving_mnist", ["data.validation=0.25"])
    assert (recipe.data.title, recipe.data.validation) == ("Moving MNIST", 0.25)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("learning_rate", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("data.=3", "expected KEY=VALUE"),
        ("batchsize=2", "unknown key batchsize; did you mean batch_size"),
        ("data.crob=64", "unknown key data.crob; did you mean data.crop|unknown key data.crob; did you mean crop"),
        ("lr.high=3", "lr.high cannot be set, because the recipe's lr is not a table"),
        ("lr=fast", "lr must be a finite number, got 'fast'"),
        ("model.hidden_channels=[2", "the value of model.hidden_channels is not valid TOML"),
        ("lr=1\nloss='mae'", "the value of lr must be one value"),
    ],
)
def test_errors_name_the_key(assignment, message, file):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        Recipe.read(file, [assignment])


def test_train_takes_them_and_writes_them_to_the_run(file, radar, tmp_path):
    common = ("train", file, "--data", radar, "-o", tmp_path / "run", "--quiet")
    run(*common, "--set", "lr=0.125", "--set", "max_steps=1", "--set", "description=Forecasts.")
    written = Recipe.read(tmp_path / "run" / "recipe.toml")
    assert (written.lr, written.max_steps, written.description) == (0.125, 1, "Forecasts.")
    error = run(*common, "--set", "max_step=2", code=1)
    assert re.search("unknown key max_step; did you mean max_steps", error)
