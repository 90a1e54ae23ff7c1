"""Deprecated names, arguments, models and recipe keys work, with a warning that names the caller's line."""

import inspect
import sys
import types

import pytest
import timm
from timm.models import _registry

import convrnn_zoo
from convrnn_zoo import _deprecation
from convrnn_zoo._deprecation import DEPRECATIONS, Deprecation, rename_keys, renamed_arguments, renamed_names
from convrnn_zoo.pretrained import registry
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.recipes import recipe as recipes


@pytest.fixture(autouse=True)
def separate(monkeypatch):
    """Deprecations of a test are not those of the package."""
    monkeypatch.setattr(_deprecation, "DEPRECATIONS", [])


def version(text):
    return tuple(int(part) for part in text.split(".")[:2])


def test_no_deprecation_is_overdue():
    assert not [d for d in DEPRECATIONS if version(d.removed_in) <= version(convrnn_zoo.__version__)]


def test_the_metadata_of_weights_have_their_former_names():
    model = convrnn_zoo.create_model("convlstm1d_bi_1layer.japanese_vowels", pretrained=True)
    with pytest.warns(FutureWarning, match=r"record of a model .*0\.3.*metadata") as caught:
        assert model.record is model.metadata
    assert [w.filename for w in caught] == [__file__]
    with pytest.warns(FutureWarning, match=r"convrnn_zoo\.Weights .*0\.3.*WeightsMetadata") as caught:
        assert convrnn_zoo.Weights is type(model.metadata)
    assert [w.filename for w in caught] == [__file__]
    assert "Weights" not in convrnn_zoo.__all__


def test_old_names_of_windows_and_sounds():
    with pytest.warns(FutureWarning, match=r"data\.Sampling .*0\.3.*WindowSelection"):
        assert convrnn_zoo.data.Sampling is convrnn_zoo.data.WindowSelection
    with pytest.warns(FutureWarning, match=r"LogMel\.step .*0\.3.*hop_length"):
        assert convrnn_zoo.LogMel().step == convrnn_zoo.LogMel().hop_length == 320


@pytest.fixture
def module():
    module = types.ModuleType("some_module")
    module.New = object()
    module.__getattr__ = renamed_names("some_module", removed_in="9.1", Old="New")
    sys.modules["some_module"] = module
    yield module
    del sys.modules["some_module"]


def test_a_renamed_name_is_the_new_one(module):
    with pytest.warns(FutureWarning, match=r"some_module\.Old .*9\.1.*New") as caught:
        old = module.Old
    assert old is module.New
    assert {w.filename for w in caught} == {__file__}
    with pytest.raises(AttributeError, match=r"some_module.*'Other'"):
        module.Other  # noqa: B018


class Layer:
    @renamed_arguments(removed_in="9.1", hidden="hidden_channels", size="kernel_size")
    def __init__(self, hidden_channels, kernel_size=3):
        self.values = hidden_channels, kernel_size


def test_a_renamed_argument_has_the_same_effect():
    with pytest.warns(FutureWarning, match=r"argument hidden of Layer .*9\.1.*hidden_channels") as caught:
        layer = Layer(hidden=8, kernel_size=5)
    assert layer.values == (8, 5)
    assert [w.filename for w in caught] == [__file__]
    with pytest.warns(FutureWarning, match="argument size"):
        assert Layer(8, size=1).values == (8, 1)
    assert Layer(8, kernel_size=5).values == (8, 5)  # without a warning, which would be an error


def test_an_argument_under_both_names_is_an_error():
    with pytest.raises(TypeError, match="hidden_channels and its old name hidden"):
        Layer(hidden=8, hidden_channels=8)
    with pytest.warns(FutureWarning, match="hidden"), pytest.raises(TypeError, match="hidden_channels"):
        Layer(8, hidden=8)


def test_the_signature_is_that_of_the_new_names():
    assert list(inspect.signature(Layer).parameters) == ["hidden_channels", "kernel_size"]


@pytest.fixture
def renamed_model(monkeypatch):
    monkeypatch.setattr(registry, "_RENAMED", {})
    architecture, weights = "convlstm1d_bi_1layer", "convlstm1d_bi_1layer.japanese_vowels"
    old = {"convlstm1d_one": architecture, "convlstm1d_bi_1layer.vowels_old": weights}
    for name, new in old.items():
        registry.rename_model(name, new, removed_in="9.1")
    yield old
    home = sys.modules[registry.entry_points()["convlstm1d_bi_1layer"].__module__]
    delattr(home, "convlstm1d_one")
    for table in (_registry._model_entrypoints, _registry._model_to_module, _registry._deprecated_models):
        table.pop("convlstm1d_one")
    _registry._module_to_models[home.__name__.rpartition(".")[2]].discard("convlstm1d_one")
    _registry._module_to_deprecated_models[home.__name__.rpartition(".")[2]].pop("convlstm1d_one")


@pytest.mark.parametrize(
    ("old", "new"),
    [("convlstm1d_one", "convlstm1d_bi_1layer"),
     ("convlstm1d_one.japanese_vowels", "convlstm1d_bi_1layer.japanese_vowels"),
     ("convlstm1d_bi_1layer.vowels_old", "convlstm1d_bi_1layer.japanese_vowels")],
)  # fmt: skip
def test_a_renamed_model_is_built_and_loaded(old, new, renamed_model):
    with pytest.warns(FutureWarning, match=rf"{old.partition('.')[0]}.*9\.1") as caught:
        model = convrnn_zoo.create_model(old, pretrained="." in new)
    assert {w.filename for w in caught} == {__file__}
    expected = convrnn_zoo.create_model(new, pretrained="." in new)
    assert model.pretrained_cfg == expected.pretrained_cfg
    assert old not in convrnn_zoo.list_models()


def test_timm_knows_a_renamed_model(renamed_model):
    with pytest.warns(UserWarning, match="convlstm1d_bi_1layer"):
        model = timm.create_model("convlstm1d_one", in_chans=1)
    assert type(model) is convrnn_zoo.ConvRNNModel
    assert "convlstm1d_one" not in timm.list_models()


def test_a_saved_model_of_an_old_name_loads_without_a_warning(renamed_model, tmp_path):
    convrnn_zoo.save_pretrained(convrnn_zoo.create_model("convlstm1d_bi_1layer", in_chans=1), tmp_path)
    config = tmp_path / "config.json"
    config.write_text(
        config.read_text(encoding="utf-8").replace("convlstm1d_bi_1layer", "convlstm1d_one"), encoding="utf-8"
    )
    assert convrnn_zoo.from_pretrained(tmp_path).in_chans == 1
    with pytest.warns(UserWarning, match="Mapping deprecated"):  # timm's, for its own way to load
        assert timm.create_model(f"local-dir:{tmp_path}", pretrained=True).in_chans == 1


@pytest.mark.parametrize(("old", "new"), [("convgru1d_2layer", "convgru1d_1layer"), ("free", "convgru1d")])
def test_only_a_free_name_can_stand_for_a_registered_one(old, new):
    with pytest.raises(ValueError, match=f"'{old}'.*'{new}'"):
        registry.rename_model(old, new, removed_in="9.1")


@pytest.mark.parametrize(("old", "new"), list(registry.REMOVED_WEIGHTS.items()))
def test_the_name_of_removed_weights_names_their_replacement(old, new):
    assert new in convrnn_zoo.WEIGHTS
    assert old not in convrnn_zoo.WEIGHTS
    for load in (convrnn_zoo.from_pretrained, convrnn_zoo.create_model):
        with pytest.raises(convrnn_zoo.WeightsError, match=f"{old} were removed; use {new}"):
            load(old)


TABLE = {"lr": 1, "data": {"kind": "frames", "key": "rain"}}
RENAMED = {"data.key": "data.variable", "steps": "max_steps", "data.a.b": "data.a.c"}


def deprecations():
    return {old: Deprecation(old, new, "9.1") for old, new in RENAMED.items()}


def test_renamed_keys_of_a_recipe():
    with pytest.warns(FutureWarning, match=r"data\.key .*9\.1.*data\.variable"):
        table = rename_keys(TABLE, deprecations())
    assert table == {"lr": 1, "data": {"kind": "frames", "variable": "rain"}}
    assert TABLE["data"] == {"kind": "frames", "key": "rain"}
    assert rename_keys({"data": "vowels"}, deprecations()) == {"data": "vowels"}
    with pytest.raises(ValueError, match=r"data\.variable .*data\.key"):
        rename_keys({"data": {"key": "a", "variable": "b"}}, deprecations())


def test_a_recipe_with_an_old_key_is_the_recipe_with_the_new_one(monkeypatch):
    monkeypatch.setattr(recipes, "RENAMED_KEYS", {"steps": Deprecation("steps", "max_steps", "9.1")})
    expected = Recipe.read("rain")
    text = expected.to_toml().replace("max_steps = ", "steps = ")
    with pytest.warns(FutureWarning, match="steps"):
        assert Recipe.parse(text) == expected
