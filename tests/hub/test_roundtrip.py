"""Pushed and saved models are loaded bit for bit, by every loader."""

import importlib.util

import pytest
import timm
import torch
from huggingface_hub import HfApi

import convrnn_zoo
from convrnn_zoo import create_model, from_pretrained, push_to_hub, save_pretrained
from convrnn_zoo.pretrained import builder, source
from tests.helpers.hub.examples import assert_same, changed, is_core, labels, make, representatives, weight
from tests.helpers.registry import slow_unless

FAMILIES = representatives()


@pytest.mark.sampled("name")
@pytest.mark.parametrize(
    "name", slow_unless(lambda n: n in FAMILIES and weight(n) < 5_000_000, convrnn_zoo.list_models())
)
def test_loads_every_architecture_from_a_directory(name, tmp_path):
    model = make(name, **labels(name))
    save_pretrained(model, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert_same(model, from_pretrained(tmp_path))
    assert_same(model, timm.create_model(f"local-dir:{tmp_path}", pretrained=True))
    assert_same(model, create_model(f"local-dir:{tmp_path}", pretrained=True))


@pytest.mark.sampled("name")
@pytest.mark.parametrize("name", slow_unless(lambda n: "2d" in n if is_core(n) else weight(n) < 300_000, FAMILIES))
def test_loads_every_family_from_the_hub(name, hub, offline):
    model, repo = make(name, **labels(name)), f"alice/{name}"
    commit = push_to_hub(model, repo).oid
    HfApi().create_tag(repo, tag="v1")
    push_to_hub(make(name, **changed(name)), repo)  # main has moved on
    for revision in ("v1", commit):
        loader = f"hf-hub:{repo}@{revision}"
        for mode in (False, True):
            offline(mode)
            assert_same(model, from_pretrained(repo, revision=revision))
            assert_same(model, timm.create_model(loader, pretrained=True))
            assert_same(model, create_model(loader, pretrained=True))
        offline(False)
    for moved in (timm.create_model(f"hf-hub:{repo}", pretrained=True), from_pretrained(f"{repo}@main")):
        assert {k: getattr(moved, k) for k in changed(name)} == changed(name)


def test_a_repository_is_read_and_compared_once(hub, monkeypatch):
    push_to_hub(make(), "alice/once")
    from_pretrained("alice/once")
    read, on_meta = [], []
    for module, name, calls in ((source, "read_config", read), (builder, "build_on_meta", on_meta)):
        original = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, f=original, calls=calls: calls.append(args) or f(*args))
    for loader in (from_pretrained, lambda repo: create_model(f"hf-hub:{repo}", pretrained=True)):
        before = len(hub.log)
        loader("alice/once")
        assert (len(read), len(on_meta)) == (1, 1)
        assert [entry[1].rpartition("/")[2] for entry in hub.log[before:]] == ["config.json"]  # whether it is current
        read.clear(), on_meta.clear()
    timm.create_model("hf-hub:alice/once", pretrained=True)
    assert (len(read), len(on_meta)) == (1, 1)


def test_a_pinned_commit_in_the_cache_asks_nothing(hub):
    commit = push_to_hub(make(), "alice/pinned").oid
    from_pretrained("alice/pinned", revision=commit)
    with hub.quiet():
        from_pretrained("alice/pinned", revision=commit)
        timm.create_model(f"hf-hub:alice/pinned@{commit}", pretrained=True)


def test_a_push_is_one_commit_of_safetensors_config_and_card(hub):
    push_to_hub(make(), "alice/one")
    repo = hub.store.repos["alice/one"]
    assert len(repo.commits) == 2  # the Hub's own, and the push
    assert set(repo.files()) == {".gitattributes", "model.safetensors", "config.json", "README.md"}
    push_to_hub(make(), "alice/one")
    assert len(repo.commits) == 2  # nothing changed


def test_branches_pull_requests_and_visibility(hub):
    model = make()
    push_to_hub(model, "alice/branches", private=True)
    assert hub.store.repos["alice/branches"].private
    push_to_hub(make(num_classes=7), "alice/branches", revision="seven")
    assert from_pretrained("alice/branches", revision="seven").num_classes == 7
    assert_same(model, from_pretrained("alice/branches"))
    with pytest.raises(convrnn_zoo.HubAccessError, match=r"alice/branches.*private=False"):
        push_to_hub(model, "alice/branches", private=False)
    push_to_hub(model, "own")  # without an owner: one's own
    assert "alice/own" in hub.store.repos
    done = push_to_hub(make(num_classes=2), "alice/own", token="hf_bob", create_pr=True)
    assert done.pr_url
    assert_same(model, from_pretrained("alice/own"))


def test_loads_what_timm_pushes(hub):
    # Older ones write down only those arguments that they are options.
    timm_knows_them = importlib.util.find_spec("timm.models._input") is not None
    for safe in (True, "both"):
        model = make("convgru2d_bi_2layer", drop_rate=0.0)  # which timm does not write down
        options = {} if timm_knows_them else {"model_args": model.model_args}
        timm.models.push_to_hf_hub(
            model, "alice/timm", safe_serialization=safe, task_name="video-classification", **options
        )
        assert_same(model, from_pretrained("alice/timm"))
        assert_same(model, timm.create_model("hf-hub:alice/timm", pretrained=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_keeps_the_dtype_of_weights_by_default(dtype, hub):
    model = make().to(dtype)
    push_to_hub(model, "alice/dtype")
    assert from_pretrained("alice/dtype").head.weight.dtype == dtype
    again = timm.create_model("hf-hub:alice/dtype", pretrained=True)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())
    assert from_pretrained("alice/dtype", dtype=torch.float32).head.weight.dtype == torch.float32


@pytest.mark.parametrize("attribute", ["labels", "count", "horizon", "no horizon", "text", "preprocessing"])
def test_a_model_that_could_not_be_loaded_replaces_nothing(attribute, tmp_path):
    horizons = {"horizon": 5000, "no horizon": 0, "text": "5"}
    forecaster = attribute in (*horizons, "preprocessing")
    model = create_model("convgru_forecaster", hidden_channels=2) if forecaster else make(num_classes=2)
    save_pretrained(model, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    torch.nn.init.zeros_(next(model.parameters()))
    if attribute in horizons:
        model.horizon = horizons[attribute]
    elif attribute == "preprocessing":
        model.preprocessing = convrnn_zoo.Preprocessing(encoding="standardize", mean=(0.0, 1.0), std=(1.0, 1.0))
    else:
        model.pretrained_cfg["label_names"] = [0, 1] if attribute == "labels" else ["a", "b", "c"]
    with pytest.raises(convrnn_zoo.WeightsError):
        save_pretrained(model, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
