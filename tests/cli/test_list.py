"""Tests of `convrnn-zoo list`."""

import itertools
import json
import re

import convrnn_zoo
from convrnn_zoo.cli.demo import CLASSIFIER
from convrnn_zoo.cli.list import group_names
from tests.helpers.command_line import run

WEIGHTS_METADATA = convrnn_zoo.WEIGHTS[CLASSIFIER]


def test_list():
    assert run("list", "*").split() == convrnn_zoo.list_models()
    assert json.loads(run("list", "--json")) == convrnn_zoo.list_models()
    assert run("list", "convgru2d_bi*").split() == convrnn_zoo.list_models("convgru2d_bi*")
    pretrained = run("list", "--pretrained")
    assert all(w in pretrained for w in convrnn_zoo.WEIGHTS)
    assert f"{WEIGHTS_METADATA.metrics[0].value:g} %" in pretrained
    assert json.loads(run("list", "convgru2d_bi*", "--json")) == convrnn_zoo.list_models("convgru2d_bi*")
    assert "no name matches 'xyz'" in run("list", "xyz", code=1)


def test_core_models_are_one_line_per_family():
    lines = run("list").split()
    assert len(lines) < 60
    assert "convgru{1,2,3}d{,_bi}_{1,2,3}layer" in lines
    assert {"convgru_forecaster", "predrnn", "predrnn_v2", "resnet18_convgru2d"} <= set(lines)
    names = []
    for line in lines:
        parts = [options.split(",") for options in re.findall(r"\{(.*?)\}", line)]
        names += [re.sub(r"\{.*?\}", "{}", line).format(*each) for each in itertools.product(*parts)]
    assert sorted(names) == convrnn_zoo.list_models()
    assert group_names(["convgru1d_1layer", "convgru2d_2layer"]) == ["convgru1d_1layer", "convgru2d_2layer"]
