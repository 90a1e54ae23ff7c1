"""Tests of `convrnn-zoo list`."""

import json

import convrnn_zoo
from convrnn_zoo.cli.demo import CLASSIFIER
from tests.command_line import run

WEIGHTS_METADATA = convrnn_zoo.WEIGHTS[CLASSIFIER]


def test_list():
    assert run("list").split() == convrnn_zoo.list_models()
    assert run("list", "convgru2d_bi*").split() == convrnn_zoo.list_models("convgru2d_bi*")
    pretrained = run("list", "--pretrained")
    assert all(w in pretrained for w in convrnn_zoo.WEIGHTS)
    assert f"{WEIGHTS_METADATA.metrics[0].value:g} %" in pretrained
    assert json.loads(run("list", "convgru2d_bi*", "--json")) == convrnn_zoo.list_models("convgru2d_bi*")
    assert "no name matches 'xyz'" in run("list", "xyz", code=1)
