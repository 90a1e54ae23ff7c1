"""Loading weights: checksum, strictness, adaptation and errors."""

import dataclasses
import functools
import logging
import re

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

import convrnn_zoo
from convrnn_zoo import WeightsError
from convrnn_zoo.layers import Conv1dGRU
from convrnn_zoo.pretrained import metadata as _weights
from convrnn_zoo.pretrained.state_dict import adapt_state_dict, file_sha256, load_weights, write_safetensors

RECORDS = pytest.mark.parametrize("record", convrnn_zoo.WEIGHTS.values(), ids=lambda r: r.name)
CLASSIFIERS = pytest.mark.parametrize(
    "record", [w for w in convrnn_zoo.WEIGHTS.values() if w.num_classes], ids=lambda r: r.name
)


def load(record, **kwargs):
    return convrnn_zoo.create_model(record.name, pretrained=True, **kwargs)


@pytest.fixture
def built(monkeypatch):
    """The device of every model that is constructed, in order."""
    devices = []
    architectures = {w.architecture for w in convrnn_zoo.WEIGHTS.values()}
    for kind in {type(convrnn_zoo.create_model(name, device="meta")) for name in architectures}:

        @functools.wraps(kind.__init__)
        def construct(self, *args, original=kind.__init__, **kwargs):
            original(self, *args, **kwargs)
            devices.append(next(self.parameters()).device.type)

        monkeypatch.setattr(kind, "__init__", construct)
    return devices


@pytest.fixture
def tampered(tmp_path, monkeypatch):
    """A copy of a record whose file may be changed: ``tampered(record, change)`` gives the new record."""

    def make(record, change, *, resign=True):
        state = safetensors.torch.load_file(record.file)
        monkeypatch.setattr(_weights, "DIRECTORY", tmp_path)
        safetensors.torch.save_file(change(state), tmp_path / f"{record.name}.safetensors")
        new = dataclasses.replace(record, sha256=file_sha256(record.file) if resign else record.sha256)
        monkeypatch.setitem(_weights.WEIGHTS, record.name, new)
        return new, {"pretrained_cfg_overlay": {"file": str(new.file)}}

    return make


@pytest.mark.sampled("record")
@RECORDS
@pytest.mark.parametrize("create", [convrnn_zoo.create_model, timm.create_model], ids=["convrnn_zoo", "timm"])
def test_a_model_with_weights_is_constructed_once_on_meta_and_once_for_real(record, create, built):
    for name in (record.name, record.architecture):
        create(name, pretrained=True)
        assert built == ["meta", "cpu"]
        built.clear()
    if record.num_classes:
        create(record.name, pretrained=True, num_classes=2)
        assert built == ["meta", "cpu"]


@RECORDS
def test_weights_are_loaded_completely_and_match_their_metadata(record):
    model, fresh = load(record), convrnn_zoo.create_model(record.name)
    for key, value in safetensors.torch.load_file(record.file).items():
        assert torch.equal(model.state_dict()[key], value)
        assert not torch.equal(fresh.state_dict()[key], value)
    assert record.architecture in convrnn_zoo.list_models()
    assert file_sha256(record.file) == record.sha256
    assert sum(p.numel() for p in model.parameters()) == record.num_params
    assert (model.in_chans, model.num_classes) == (record.in_chans, record.num_classes)
    assert record.file.stat().st_size < 10_000_000
    assert _weights.WeightsMetadata.from_json(record.to_json()) == record


@RECORDS
@pytest.mark.parametrize("create", [convrnn_zoo.create_model, timm.create_model], ids=["convrnn_zoo", "timm"])
def test_the_untagged_name_takes_the_weights_that_are_declared_the_default(record, create, caplog):
    of_architecture = [w for w in convrnn_zoo.WEIGHTS.values() if w.architecture == record.architecture]
    (default,) = [w for w in of_architecture if w.default or len(of_architecture) == 1]
    with caplog.at_level(logging.INFO, "convrnn_zoo"):
        model = create(record.architecture, pretrained=True)
    assert model.metadata == default
    for a, b in zip(model.state_dict().values(), load(default).state_dict().values(), strict=True):
        assert torch.equal(a, b)
    messages = [r.getMessage() for r in caplog.records if "default weights" in r.getMessage()]
    assert len(messages) == (len(of_architecture) > 1)
    assert all(default.name.partition(".")[2] in line for line in messages)


@pytest.mark.sampled("record")
@RECORDS
@pytest.mark.parametrize("create", [convrnn_zoo.create_model, timm.create_model], ids=["convrnn_zoo", "timm"])
def test_a_tag_in_place_of_true_names_the_weights_or_is_rejected(record, create):
    tag = record.name.partition(".")[2]
    assert create(record.architecture, pretrained=tag).metadata == record
    assert create(record.name, pretrained=tag).metadata == record
    with pytest.raises(convrnn_zoo.WeightsError, match=f"'nothing'.*{tag}"):
        create(record.architecture, pretrained="nothing")
    with pytest.raises(convrnn_zoo.WeightsError, match="pretrained='nothing'"):
        create(record.name, pretrained="nothing")
    with pytest.raises(TypeError, match=r"pretrained.* 3"):
        create(record.architecture, pretrained=3)


@pytest.mark.sampled("record")
@CLASSIFIERS  # a forecaster gives as many channels as it takes
@pytest.mark.parametrize("factor", [2, 3])
def test_in_chans_adapts_so_that_a_repeated_input_gives_the_same(record, factor):
    if record.architecture.startswith("audio"):  # its channels are bands
        with pytest.raises(convrnn_zoo.WeightsError, match="in_chans"):
            load(record, in_chans=factor * record.in_chans)
        return
    model, wide = load(record).eval(), load(record, in_chans=factor * record.in_chans).eval()
    x = torch.randn(2, 3, *(s if isinstance(s, int) else 8 for s in record.input_shape[1:]))
    torch.testing.assert_close(wide(x.repeat_interleave(1, 2).repeat(1, 1, factor, *[1] * (x.dim() - 3))), model(x))


@pytest.mark.parametrize("in_chans", [1, 3, 5])
@pytest.mark.parametrize("name", ["convgru2d_1layer.digit_motion", "convlstm1d_bi_1layer.japanese_vowels"])
def test_in_chans_adapts_the_cfg_like_the_weights(name, in_chans, tmp_path):
    record = convrnn_zoo.WEIGHTS[name]
    model = convrnn_zoo.from_pretrained(name, in_chans=in_chans)
    cfg, repeated = model.pretrained_cfg, [i % record.in_chans for i in range(in_chans)]
    assert cfg["input_size"][0] == in_chans
    for key in ("mean", "std"):
        values = getattr(record, key)
        expected = [sum(values) / len(values)] if in_chans == 1 else [values[i] for i in repeated]
        assert list(cfg[key]) == pytest.approx(expected)
    size = [s if isinstance(s, int) else 8 for s in record.input_shape[2:]]
    x = torch.rand(4, record.in_chans, *size)
    [prediction] = model.classify([x.mean(1, keepdim=True) if in_chans == 1 else x[:, repeated]])
    if record.in_chans == 1:  # repeated channels are one channel
        [expected] = convrnn_zoo.from_pretrained(name).classify([x])
        assert prediction.probability == pytest.approx(expected.probability, abs=1e-5)
    convrnn_zoo.save_pretrained(model, tmp_path)
    assert torch.equal(torch.stack(convrnn_zoo.from_pretrained(tmp_path).statistics()), torch.stack(model.statistics()))


@pytest.mark.parametrize(
    ("name", "in_chans"), [("convgru_forecaster.rain", 3), ("audio_convrnn.fsdd", 3), ("audio_convrnn.fsdd", 38)]
)
def test_channels_of_forecasters_and_sounds_are_not_adapted(name, in_chans):  # also if every tensor fits
    with pytest.raises(convrnn_zoo.WeightsError, match=f"in_chans.* {in_chans}\\b"):
        convrnn_zoo.from_pretrained(name, in_chans=in_chans)


@CLASSIFIERS
def test_another_num_classes_replaces_only_the_head_with_a_warning(record, caplog):
    with caplog.at_level(logging.WARNING, "convrnn_zoo"):
        model, original = load(record, num_classes=record.num_classes + 2), load(record)
    (message,) = [r.getMessage() for r in caplog.records]
    assert re.search(rf"\b{record.num_classes} classes.*\b{record.num_classes + 2}\b", message)
    for key, value in original.state_dict().items():
        if not key.startswith("head."):
            assert torch.equal(model.state_dict()[key], value)


@RECORDS
def test_a_damaged_file_is_rejected_by_its_checksum(record, tampered):
    def flip(state):
        next(x for x in state.values() if x.is_floating_point()).view(-1)[0] += 1e-3
        return state

    new, args = tampered(record, flip, resign=False)
    with pytest.raises(convrnn_zoo.WeightsError, match=f"sha256.*{record.sha256}"):
        load(new, **args)


def without(state, *words):
    """Returns the state without its first entry whose key contains one of the words."""
    name = next(k for k in state if any(word in k for word in words))
    return {k: v for k, v in state.items() if k != name}


def changed(state, end, change):
    """Returns the state with another tensor for its first key with this end."""
    name = next(k for k in state if k.endswith(end))
    return {**state, name: change(state[name])}


@pytest.mark.sampled("record")
@RECORDS
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "weight_hh_l0"), r"missing: \S*weight_hh_l0"),
        (lambda s: {**s, "extra": torch.zeros(1)}, "unexpected: extra"),
        (
            lambda s: changed(s, "weight_hh_l0", lambda w: w[1:].contiguous()),
            r"weight_hh_l0 \(\d+, .* for \(\d+, ",
        ),
        (lambda s: changed(s, "weight_hh_l0", lambda w: w.where(w != w.max(), torch.nan)), "weight_hh_l0 .*NaN"),
        (lambda s: changed(s, "bias_hh_l0", Tensor.long), r"bias_hh_l0 torch\.int64 for torch\.float32"),
        (lambda s: without(s, "head.", "ups."), r"missing: (head|ups)\."),
    ],
)
def test_lists_differences(record, tampered, change, message):
    new, args = tampered(record, change)
    with pytest.raises(convrnn_zoo.WeightsError, match=message):
        load(new, **args)


def test_rejects_names_without_weights():
    bare = next(n for n in convrnn_zoo.list_models() if not convrnn_zoo.list_models(f"{n}.*", pretrained=True))
    with pytest.raises(convrnn_zoo.WeightsError, match=f"^{bare} ") as caught:
        convrnn_zoo.create_model(bare, pretrained=True)
    with pytest.raises(convrnn_zoo.WeightsError, match=f"{bare} .*'nothing'") as caught:
        convrnn_zoo.create_model(f"{bare}.nothing", pretrained=True)
    assert isinstance(caught.value, RuntimeError)
    assert isinstance(caught.value, ValueError)


def test_only_sound_safetensors_are_read(tmp_path):
    torch.save({}, tmp_path / "w.pt")
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 32)
    for file, error, message in (
        ("w.pt", convrnn_zoo.WeightsError, r"w\.pt.*\.safetensors"),
        ("w.safetensors", convrnn_zoo.WeightsError, r"w\.safetensors.*SafetensorError"),
        ("x.safetensors", convrnn_zoo.HubAccessError, r"x\.safetensors"),
    ):
        with pytest.raises(error, match=message):
            convrnn_zoo.create_model(
                "convgru1d_1layer", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / file)}
            )


def test_other_weights_have_no_metadata(tmp_path):
    model = convrnn_zoo.create_model("convgru_forecaster.rain", pretrained=True)
    other = {k: torch.zeros_like(v) for k, v in model.state_dict().items()}
    safetensors.torch.save_file(other, tmp_path / "zeros.safetensors")
    load_weights(model, tmp_path / "zeros.safetensors")
    assert model.metadata is None
    assert not {"tag", "description"} & model.pretrained_cfg.keys()


def test_a_checkpoint_is_loaded_into_a_feature_extractor(tmp_path):
    options = {"in_chans": 1, "hidden_channels": 2, "num_classes": 3}
    model = convrnn_zoo.create_model("convgru1d_2layer", **options)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "a.safetensors")
    options |= {"checkpoint_path": tmp_path / "a.safetensors", "out_indices": [0], "feature_cls": "getter"}
    features = convrnn_zoo.create_model("convgru1d_2layer", features_only=True, **options)
    x = torch.randn(1, 3, 1, 5)
    torch.testing.assert_close(features(x)[0], model.forward_intermediates(x, intermediates_only=True)[0])
    with pytest.raises(TypeError, match="features_only"):
        convrnn_zoo.create_model("convgru1d_2layer", **options)
    with pytest.raises(ValueError, match=r"feature_cls .*hook"):
        convrnn_zoo.create_model("convgru1d_2layer", features_only=True, **{**options, "feature_cls": "hook"})


@pytest.mark.parametrize("overlay", [{"num_classes": 7}, {"input_size": (5, 1, 1)}], ids=str)
def test_an_overlay_that_contradicts_the_arguments_of_the_weights_is_rejected(overlay):
    name, (field,) = "convlstm1d_bi_1layer.japanese_vowels", overlay
    with pytest.raises(WeightsError, match=rf"pretrained_cfg_overlay.*{field}"):
        convrnn_zoo.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    args = {"num_classes": 7, "in_chans": 5}
    model = convrnn_zoo.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **args)
    assert {key: getattr(model, key) for key in args} == args


def test_a_cfg_in_place_of_the_tag(tmp_path):
    model = convrnn_zoo.create_model("convgru_forecaster.rain", pretrained_cfg="moving_mnist")
    assert model.pretrained_cfg["tag"] == "moving_mnist"
    convrnn_zoo.save_pretrained(model, tmp_path)
    with pytest.raises(convrnn_zoo.WeightsError, match="pretrained_cfg"):
        convrnn_zoo.create_model(f"local-dir:{tmp_path}", pretrained_cfg="rain")


def test_one_direction_is_adapted_although_the_weight_of_the_other_is_missing():
    source, model = (convrnn_zoo.create_model("convgru1d_bi_1layer", in_chans=n, num_classes=2) for n in (1, 3))
    state = source.state_dict()
    del state["rnn.weight_ih_l0"]
    adapted = adapt_state_dict(state, model, source.pretrained_cfg, 1, 2, "a")
    assert "rnn.weight_ih_l0" not in adapted
    torch.testing.assert_close(adapted["rnn.weight_ih_l0_reverse"].sum(1), state["rnn.weight_ih_l0_reverse"][:, 0])


def test_a_weight_that_reads_other_channels_is_left_while_others_are_adapted():
    model = nn.ModuleDict({"grouped": nn.Conv2d(2, 2, 1, groups=2), "stem": nn.Conv2d(2, 2, 1)})
    model.in_chans, model.num_classes, model.input_weights = 2, 0, ["grouped.weight", "stem.weight"]
    state = {"grouped.weight": torch.rand(2, 2, 1, 1), "stem.weight": torch.rand(2, 4, 1, 1)}
    adapted = adapt_state_dict(state, model, {}, 4, 0, "a")
    assert adapted["grouped.weight"] is state["grouped.weight"]
    torch.testing.assert_close(adapted["stem.weight"], 2 * state["stem.weight"][:, :2])


def test_names_of_tensors_are_shortened_in_messages(tmp_path):
    layer = Conv1dGRU(2, 3, 3)
    names = ["\x1b[2Jevil", *(f"{i}" * 1000 for i in range(100))]
    write_safetensors({**layer.state_dict(), **dict.fromkeys(names, torch.zeros(1))}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"unexpected: .* and 95 more") as caught:
        convrnn_zoo.load_weights(layer, tmp_path / "a.safetensors")
    assert len(str(caught.value)) < 2000
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", [None, "", 3])
def test_names_are_texts(name):
    for build in (convrnn_zoo.create_model, convrnn_zoo.from_pretrained):
        with pytest.raises(ValueError, match="a name must be a text"):
            build(name)


@pytest.mark.parametrize(
    ("name", "in_chans"), [("convlstm_forecaster", 2), ("convgru_forecaster.rain", 2), ("audio_convrnn.fsdd", 38)]
)
def test_a_file_in_place_of_the_weights_may_have_other_channels(name, in_chans, tmp_path):
    model = convrnn_zoo.create_model(name, in_chans=in_chans)
    write_safetensors(model.state_dict(), tmp_path / "a.safetensors")
    overlay = {"file": str(tmp_path / "a.safetensors")}
    same = convrnn_zoo.create_model(name, pretrained=True, in_chans=in_chans, pretrained_cfg_overlay=overlay)
    assert all(torch.equal(v, same.state_dict()[k]) for k, v in model.state_dict().items())


def test_convolutions_with_groups_are_not_adapted(tmp_path):
    saved = convrnn_zoo.create_model("convgru2d_1layer", in_chans=2, hidden_channels=4, groups=2)
    convrnn_zoo.save_pretrained(saved, tmp_path)
    with pytest.raises(convrnn_zoo.WeightsError, match="weight_ih_l0"):
        convrnn_zoo.from_pretrained(tmp_path, in_chans=4)


def test_an_empty_revision_is_an_error():
    with pytest.raises(WeightsError, match="me/x@"):
        convrnn_zoo.from_pretrained("me/x@")
