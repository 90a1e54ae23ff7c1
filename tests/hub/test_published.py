"""Weights that another project publishes on the Hub load by their name."""

import dataclasses
import functools
import io
import logging

import numpy as np
import pytest
import torch
from huggingface_hub import cached_assets_path

import convrnn_zoo
from convrnn_zoo import interop
from convrnn_zoo.pretrained import fetch
from convrnn_zoo.pretrained.published import PUBLISHED
from tests.helpers.command_line import run
from tests.helpers.interop.recorded import recorded
from tests.interop.test_pickles import needs_pickles

NAME = "convgru_irene.it4lia"


@pytest.mark.slow
@needs_pickles
def test_a_checkpoint_on_the_hub_loads_by_name(hub, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    expected = interop.load("irene", recorded("irene").state)
    sizes = {k: v for k, v in expected.model_args.items() if k != "num_classes"}
    torch.save({"state_dict": recorded("irene").state, "epoch": 3}, buffer := io.BytesIO())
    repo = hub.store.create("it4lia/irene", {"model.ckpt": buffer.getvalue()})
    repo.commits[PUBLISHED[NAME].address.partition("@")[2].partition("/")[0]] = repo.files()
    monkeypatch.setitem(PUBLISHED, NAME, dataclasses.replace(PUBLISHED[NAME], model_args=sizes))
    model = convrnn_zoo.create_model("convgru_irene", pretrained=True, cache_dir=tmp_path / "cache")
    assert all(torch.equal(model.state_dict()[k], v) for k, v in expected.state_dict().items())
    assert model.preprocessing == expected.preprocessing
    assert "bsd-2-clause" in caplog.text
    assert list((tmp_path / "cache").rglob("model.ckpt"))  # and nothing in another cache
    requests = len(hub.log)
    convrnn_zoo.create_model(NAME, pretrained=True, cache_dir=tmp_path / "cache")
    in_cache = functools.partial(cached_assets_path, assets_dir=tmp_path / "cache")
    monkeypatch.setattr(fetch, "cached_assets_path", lambda *names, assets_dir=None: in_cache(*names))
    np.save(tmp_path / "frames.npy", np.random.default_rng(0).random((6, 8, 8), np.float32))
    run("predict", "convgru_irene", tmp_path / "frames.npy", "-o", tmp_path / "y.npy")
    assert np.load(tmp_path / "y.npy").shape[-2:] == (8, 8)
    assert len(hub.log) == requests
