"""Malicious repositories."""

import json
import os
import pickle
import time

import pytest
import safetensors.torch
import timm
import torch

import convrnn_zoo
from benchmarks.memory import rise
from convrnn_zoo import HubAccessError, WeightsError, from_pretrained
from convrnn_zoo.models.factory import build_from_source
from convrnn_zoo.pretrained.registry import entry_points
from convrnn_zoo.pretrained.source import open_repository
from tests.helpers.hub.examples import files, make
from tests.helpers.hub.loaders import LOADERS, OURS

every_loader = pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)


class Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def changed(saved, **config):
    """The files with a config whose entries are merged, one level deep."""
    raw = json.loads(saved["config.json"])
    for key, value in config.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) and key in raw else value
    return {**saved, "config.json": json.dumps(raw).encode()}


@every_loader
@pytest.mark.parametrize("weights", ["missing", "broken", "sound"])
def test_never_opens_a_pickle_next_to_the_weights(loader, weights, hub, saved, tmp_path):
    mark = tmp_path / "source"
    evil = pickle.dumps(Payload(mark))
    repo = hub.store.create("bob/evil", {**saved, "pytorch_model.bin": evil, "model.pt": evil, "model.pth": evil})
    if weights == "missing":
        repo.commit({"model.safetensors": None})
    if weights == "broken":
        repo.commit({"model.safetensors": evil})
    if weights == "sound":
        loader("bob/evil")
    else:
        with pytest.raises((WeightsError, OSError), match="bob/evil"):
            loader("bob/evil")
    assert not hub.asked("model.pt")
    assert not hub.asked("pytorch_model")
    assert not mark.exists()
    pickle.loads(evil)
    assert mark.exists(), "the payload would have shown"


def test_a_pickle_in_a_directory_or_as_a_checkpoint_is_never_opened(saved, tmp_path):
    mark, directory = tmp_path / "source", tmp_path / "evil"
    directory.mkdir()
    (directory / "config.json").write_bytes(saved["config.json"])
    for name in ("pytorch_model.bin", "model.pth"):
        (directory / name).write_bytes(pickle.dumps(Payload(mark)))
        for loader in (
            lambda: timm.create_model(f"local-dir:{directory}", pretrained=True),
            lambda: from_pretrained(directory),
            lambda path=directory / name: convrnn_zoo.create_model("convlstm1d_1layer", checkpoint_path=path),
            lambda path=directory / name: timm.create_model(
                "convlstm1d_1layer", pretrained=True, pretrained_cfg_overlay={"file": str(path)}
            ),
        ):
            with pytest.raises((WeightsError, HubAccessError), match=r"safetensors"):
                loader()
    assert not mark.exists()


def changes(entry, *values):
    """Changes of a config by values of an entry, and the first key of each, which the error names."""
    return [({entry: value}, rf"\b{next(iter(value))}\b") for value in values]


HOSTILE = [
    *changes("pretrained_cfg", {"std": [0.0]}, {"mean": [float("nan")]}, {"std": [1, "2"]}, {"mean": 3}),
    *changes("model_args", {"pretrained_strict": False}, {"pretrained_filter_fn": "os.system"}, {"hidden": 3}),
    *changes("model_args", {"features_only": True}, {"pruned": True}, {"device": "cuda"}, {"dtype": "float16"}),
    # other files than the weights
    *changes("pretrained_cfg", {"custom_load": "hf", "hf_hub_filename": "other.bin"}),
    *changes("pretrained_cfg", {"hf_hub_filename": "other.safetensors"}, {"state_dict": {"x": [1.0]}}),
    *changes("pretrained_cfg", {"url": "http://127.0.0.1:9/other.bin"}),
    # a head of random weights
    ({"num_classes": 7}, r"(config\.json.*num_classes|head\.weight)"),
    ({"num_classes": 7, "model_args": {"num_classes": 7}}, r"(config\.json.*num_classes|head\.weight)"),
]


@every_loader
@pytest.mark.parametrize(("config", "words"), HOSTILE, ids=str)
def test_hostile_configs_are_rejected(config, words, loader, hub, saved):
    hub.store.create("bob/evil", changed(saved, **config) | {"other.safetensors": b"", "other.bin": b""})
    with pytest.raises(WeightsError, match=rf"bob/evil.*{words}"):
        loader("bob/evil")
    assert not hub.asked("other")


def test_a_config_cannot_name_a_file_of_the_users(hub, saved, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(saved["model.safetensors"])
    evil = changed(saved, pretrained_cfg={"file": str(other)})
    evil["model.safetensors"] = safetensors.torch.save({"x": torch.zeros(1)})
    hub.store.create("bob/evil", changed(evil, weights_sha256=None))
    for loader in LOADERS.values():
        with pytest.raises(WeightsError, match="unexpected: x"):
            loader("bob/evil")


SIZES = {
    "width": {"hidden_channels": 60_000},
    "overflow": {"hidden_channels": 2**16, "kernel_size": 65_535},
    "beyond integers": {"hidden_channels": 10**30},
    "layers": {"num_layers": 10**9, "hidden_channels": 1},
    "many layers": {"num_layers": 60_000, "hidden_channels": 1},
    "a long list": {"hidden_channels": [1] * 100_000},
    "nested": {"kernel_size": [[[[[[1]]]]]]},
    "NaN": {"drop_rate": float("nan")},
    "classes": {"num_classes": 60_000, "hidden_channels": 60_000},
}


@pytest.mark.needs("linux")
@pytest.mark.sampled("sizes")
@every_loader
@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_rejects_oversized_models_before_allocating(sizes, pretrained, loader, hub, saved):

    evil = changed(saved, model_args=sizes, **({"num_classes": 60_000} if "num_classes" in sizes else {}))
    hub.store.create("bob/evil", evil)
    start = time.monotonic()
    if not pretrained:
        loader = lambda repo: timm.create_model(f"hf-hub:{repo}", pretrained=False)  # noqa: E731

    def load():
        with pytest.raises(WeightsError, match="bob/evil"):
            loader("bob/evil")

    assert rise(load) < 200 * 2**20
    assert time.monotonic() - start < 20
    assert not hub.asked("model.safetensors")


def test_rejects_oversized_files_before_the_download(hub, saved, tmp_path):
    hub.store.create("bob/large", saved | {"model.safetensors": bytes(400_000)})
    words = r"bob/large.*model\.safetensors.*400,000.*300,000.*max_bytes"
    with pytest.raises(WeightsError, match=words):
        from_pretrained("bob/large", max_bytes=300_000)
    with convrnn_zoo.size_limit(300_000), pytest.raises(WeightsError, match=words):
        timm.create_model("hf-hub:bob/large", pretrained=True)
    assert not [entry for entry in hub.log if entry[0] == "GET" and "config.json" not in entry[1]]
    sparse = tmp_path / "model.safetensors"
    with sparse.open("wb") as f:
        f.truncate(2**40)
    with pytest.raises(WeightsError, match=r"model\.safetensors.*1,099,511,627,776.*4,294,967,296"):
        convrnn_zoo.load_weights(make(), sparse)


@pytest.mark.parametrize("architecture", ["resnet18", "vit_giant_patch14_224", "os.system", "../x", 3, None, []])
def test_only_architectures_of_this_zoo(architecture, hub, saved):
    hub.store.create("bob/evil", changed(saved, architecture=architecture))
    for loader in OURS.values():  # timm's own loader builds what timm registers, without our code
        with pytest.raises(WeightsError, match=r"bob/evil.*architecture"):
            loader("bob/evil")


@pytest.mark.slow
def test_no_architecture_reads_pickles_through_timm(saved, tmp_path):
    """timm's loader, which falls back to them, is reached by no name of the zoo."""
    mark = tmp_path / "source"
    (tmp_path / "w.bin").write_bytes(pickle.dumps(Payload(mark)))
    for name in entry_points():
        with pytest.raises(WeightsError):
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "w.bin")})
        with pytest.raises(WeightsError):
            timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"url": "http://127.0.0.1:9/w.bin"})
    assert not mark.exists()


def test_a_branch_that_moves_between_config_and_weights_is_not_mixed(hub, saved, tmp_path):
    repo = hub.store.create("alice/moving", saved)
    source = open_repository("alice/moving")
    repo.commit(files(make(num_classes=4), tmp_path / "other"))
    assert build_from_source(source).num_classes == 3
