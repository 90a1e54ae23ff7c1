"""torch.hub from the checkout and from a pre-seeded cache, offline."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import convrnn_zoo

ROOT = Path(__file__).parent.parent


def test_load_from_the_checkout_builds_what_create_model_does():
    model = torch.hub.load(str(ROOT), "convlstm2d_bi_2layer", source="local", in_chans=3)
    ours = convrnn_zoo.create_model("convlstm2d_bi_2layer", in_chans=3)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in ours.state_dict().items()}
    assert model(torch.randn(1, 2, 3, 4, 4)).shape == (1, 2, 128, 4, 4)


@pytest.mark.sampled("record")
@pytest.mark.parametrize("record", convrnn_zoo.WEIGHTS.values(), ids=lambda r: r.name)
def test_pretrained_weights_come_through_torch_hub(record):
    tag = record.name.partition(".")[2]
    ours = convrnn_zoo.create_model(record.name, pretrained=True)
    for kwargs in ({"pretrained": tag}, {"pretrained": True, "pretrained_cfg": tag}):
        model = torch.hub.load(str(ROOT), record.architecture, source="local", **kwargs)
        assert model.metadata == record
        assert model.preprocessing == record.preprocessing
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), ours.state_dict().values(), strict=True))


CACHED = """
import socket, sys, torch
def fail(*a, **k): raise AssertionError("network")
socket.socket.connect = fail
repo = "owner/convrnn_zoo:main"
kwargs = dict(trust_repo=True, skip_validation=True)
names = torch.hub.list(repo, **kwargs)
for name in names:
    assert len(torch.hub.help(repo, name, **kwargs)) > 60, name
model = torch.hub.load(repo, "convgru1d_1layer", in_chans=2, **kwargs)
assert sys.modules["convrnn_zoo"].__file__.startswith(torch.hub.get_dir()), sys.modules["convrnn_zoo"].__file__
print("\\n".join(names))
"""


@pytest.mark.slow
def test_a_seeded_cache_works_offline_and_lists_only_the_zoo(tmp_path):
    repo = tmp_path / "hub" / "owner_convrnn_zoo_main"
    repo.mkdir(parents=True)
    shutil.copy(ROOT / "hubconf.py", repo)
    shutil.copytree(ROOT / "convrnn_zoo", repo / "convrnn_zoo", ignore=shutil.ignore_patterns("__pycache__"))
    env = {**os.environ, "TORCH_HOME": str(tmp_path), "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", CACHED], capture_output=True, text=True, env=env, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    names = [line for line in done.stdout.splitlines() if not line.startswith("Using cache")]
    assert sorted(names) == sorted([*convrnn_zoo.list_models(), "from_pretrained"])
