"""Video models: an encoder of timm's on every frame, recurrent layers on its maps."""

import copy

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import convrnn_zoo
from convrnn_zoo.models import video
from convrnn_zoo.models.video import BiConvLSTM
from convrnn_zoo.pretrained.registry import entry_points

VGG_HAS_MAPS = hasattr(timm.models.VGG, "forward_intermediates")
NAMES = [n for n in convrnn_zoo.list_models() if entry_points()[n].__module__ == video.__name__]
LIGHT = "mobilenetv3_small_100"


def light(rnn="convgru", **kwargs):
    torch.manual_seed(0)
    kwargs = {"levels": (1, 3), "hidden_channels": [4, 6], "num_classes": 3, "chunk_size": 4, **kwargs}
    return convrnn_zoo.video_model(LIGHT, rnn, **kwargs).eval()


def clips(n=3, steps=5, size=32, channels=3):
    return torch.rand(n, steps, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.sampled("name")
@pytest.mark.parametrize("name", NAMES)
def test_each_name_has_its_shapes_on_meta(name):
    model = convrnn_zoo.create_model(name, num_classes=4, device="meta")
    x = torch.rand(2, 3, 3, 64, 64, device="meta")
    packed = pack_padded_sequence(x, torch.tensor([3, 2]), batch_first=True)
    assert model(x).shape == model(x[:, 0]).shape == model(packed).shape == (2, 4)
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (2, model.head_hidden_size)
    cfg = timm.data.resolve_data_config(model=model)
    encoder = timm.get_pretrained_cfg(model.encoder.name)
    assert (cfg["mean"], cfg["std"], cfg["input_size"]) == (encoder.mean, encoder.std, encoder.input_size)
    named = model.pretrained_cfg["classifier"]
    assert {f"{head}.weight" for head in ([named] if isinstance(named, str) else named)} <= model.state_dict().keys()
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)
    model.reset_classifier(0, "")
    maps = model.forward_features(x)
    reductions = [info["reduction"] for info in model.feature_info]
    for y, width, reduction in zip(maps if isinstance(maps, list) else [maps], model.widths, reductions, strict=True):
        assert y.shape in {
            (2, 3, width, 64 // reduction, 64 // reduction),
            (2, 3, width, 1, 1),  # features in front of a classifier
        }


@pytest.mark.parametrize("rnn", convrnn_zoo.layers.KINDS)
def test_every_layer_of_the_core_family_can_read_the_maps(rnn):
    model = light(rnn, num_layers=2, bidirectional=True)
    assert {(layer.num_layers, layer.num_directions) for layer in model.rnns} == {(2, 2)}
    assert model(clips()).shape == (3, 3)


def test_name_is_registered_if_timm_can_build_its_encoder():
    assert ("gru_rcn_vgg16" in convrnn_zoo.list_models()) == VGG_HAS_MAPS


@pytest.mark.skipif(not VGG_HAS_MAPS, reason="this timm's VGG has no forward_intermediates")
def test_the_papers_architectures_match_their_descriptions():
    gru_rcn = convrnn_zoo.create_model("gru_rcn_vgg16", device="meta")
    assert gru_rcn.encoder.widths == [128, 256, 512, 512, 4096]  # pool2 to pool5 and fc7
    assert gru_rcn.encoder.reductions[:4] == [4, 8, 16, 32]
    assert gru_rcn.widths == [64, 128, 256, 256, 512]
    assert not any(rnn.reset_after for rnn in gru_rcn.rnns)
    violence = convrnn_zoo.create_model("biconvlstm_vgg13", num_classes=2, device="meta")
    assert (violence.encoder.widths, violence.encoder.reductions) == ([512], [16])  # 14×14 of 224×224
    assert violence.rnns[0].bidirectional
    assert [layer.out_features for layer in violence.necks[0] if hasattr(layer, "out_features")] == [1000, 256, 10]
    assert violence.head.in_features == 10


lengths_of_batches = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(lengths_of_batches, st.sampled_from(["avg", "max", "last"]), st.booleans(), st.integers(1, 5), st.randoms())
def test_no_padding_no_order_and_no_chunk_changes_a_logit(lengths, pool, bidirectional, chunk_size, random):
    model = light(global_pool=pool, bidirectional=bidirectional, chunk_size=chunk_size)
    x = clips(len(lengths), 4)
    alone = torch.cat([model(x[i : i + 1, :n]) for i, n in enumerate(lengths)])
    for i, n in enumerate(lengths):
        x[i, n:] = torch.nan  # a frame that were encoded would show
    torch.testing.assert_close(model(x, lengths=lengths), alone, atol=1e-5, rtol=1e-5)
    order = list(range(len(lengths)))
    random.shuffle(order)
    shuffled = model(x[order], lengths=[lengths[i] for i in order])
    torch.testing.assert_close(shuffled, alone[order], atol=1e-5, rtol=1e-5)


SMALL = {"encoder": LIGHT, "levels": (2,), "bidirectional": False, "hidden_channels": 4}
SMALL |= {"post_conv": 3, "head_widths": (5, 2)}


def test_hidden_layers_follow_the_convolution():
    torch.manual_seed(0)
    model = BiConvLSTM(**SMALL, num_classes=3, global_pool="").eval()
    x = clips()
    assert model(x).shape == (3, 5, 3, 4, 4)
    assert model(x[:, 0]).shape == (3, 3, 4, 4)
    torch.testing.assert_close(model(x)[:, 0], model(x[:, 0]))
    packed = model(pack_padded_sequence(x, torch.tensor([5, 4, 2]), batch_first=True))
    torch.testing.assert_close(pad_packed_sequence(packed, batch_first=True)[0][0], model(x)[0])
    maps = model.forward_features(x)
    assert (maps.shape, model.num_features, model.head_hidden_size) == ((3, 5, 3, 4, 4), 3, 2)
    lengths = torch.tensor([5, 1, 3])
    assert not model.forward_features(x, lengths=lengths)[1, 1:].any()
    hidden = model.forward_head(maps, pre_logits=True)
    assert (hidden.shape, hidden.min() >= 0) == ((3, 5, 2, 4, 4), True)
    torch.testing.assert_close(model.head(hidden.movedim(2, -1)).movedim(-1, 2), model(x))
    pooled = BiConvLSTM(**SMALL, num_classes=3).eval()
    pooled.load_state_dict(model.state_dict())
    largest = maps.amax((1, 3, 4))
    torch.testing.assert_close(pooled(x), pooled.head(pooled.necks[0](largest)))
    torch.testing.assert_close(
        pooled.forward_head(pooled.forward_features(x), pre_logits=True), pooled.necks[0](largest)
    )
    pooled.reset_classifier(0)
    torch.testing.assert_close(pooled(x), pooled.necks[0](largest))
    pooled.prune_intermediate_layers([0])
    torch.testing.assert_close(pooled.forward_head(maps), maps)
    keys = [f"{part}.{end}" for part in ("posts.0.0", "necks.0.0", "necks.0.2") for end in ("weight", "bias")]
    plain = BiConvLSTM(**SMALL, global_pool=None).eval()
    assert list(plain.state_dict())[-6:] == keys
    assert (plain(x).shape, plain(x[:, 0]).shape) == ((3, 5, 2, 4, 4), (3, 2))  # a frame is pooled


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"post_conv": -2}, "post_conv.* -2"),
        ({"levels": (1, 2)}, r"levels.*\[1, 2\]"),
        ({"head_widths": (0,)}, r"head_widths\[0\].* 0"),
    ],
)
def test_rejects_unbuildable_hidden_layers(options, words):
    with pytest.raises(ValueError, match=words):
        BiConvLSTM(**{**SMALL, **options}, device="meta")


def test_a_frozen_encoder_stays_as_it_is_and_a_trained_one_learns():
    frozen, trained = light(freeze_encoder=True).train(), light().train()
    before = copy.deepcopy(frozen.encoder.state_dict())
    for model in (frozen, trained):
        model(clips()).square().sum().backward()
    assert not frozen.encoder.model.training
    assert frozen.training
    torch.testing.assert_close(frozen.encoder.state_dict(), before, atol=0, rtol=0)
    assert all(p.grad is None for p in frozen.encoder.parameters())
    assert all(p.grad is not None for p in frozen.rnns.parameters())
    assert all(p.grad is not None for p in trained.parameters())


def test_a_config_cannot_ask_for_the_encoders_weights(tmp_path):
    convrnn_zoo.save_pretrained(light(), tmp_path)
    config = tmp_path / "config.json"
    assert "encoder_pretrained" not in config.read_text()
    config.write_text(config.read_text().replace('"rnn": "convgru"', '"rnn": "convgru", "encoder_pretrained": true'))
    with pytest.raises(convrnn_zoo.WeightsError, match="encoder_pretrained"):
        convrnn_zoo.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"encoder": "no_such_net"}, "'no_such_net'"),
        ({"levels": (9,)}, r"mobilenetv3_small_100.*\[9\]"),
        ({"encoder": "predrnn"}, "PredRNN"),
        ({"levels": ("last", 1)}, r"levels.*\['last', 1\]"),
        ({"levels": ()}, r"levels.*\[\]"),
        ({"rnn": "lstm"}, "^rnn.*convlstm.*'lstm'"),
        ({"hidden_channels": [4]}, "hidden_channels"),
        ({"chunk_size": 0}, "chunk_size.* 0"),
        ({"num_classes": -1}, "num_classes.* -1"),
    ],
)
def test_rejects_unbuildable_models(kwargs, words):
    kwargs = {"encoder": LIGHT, "levels": (1, 3), "hidden_channels": 4, "device": "meta", **kwargs}
    with pytest.raises(ValueError, match=words):
        convrnn_zoo.models.VideoModel(**kwargs)


@pytest.mark.parametrize(
    ("x", "kwargs", "words"),
    [
        (torch.rand(2, 3, 3, 8, 8), {}, r"frames.*\b16.*\(8, 8\)"),
        (torch.rand(2, 3, 1, 64, 64), {}, r"\b3 .*channels.*axis 2 of x.*\b1\b"),
        (torch.rand(3, 64, 64), {}, r"\bx .*\(3, 64, 64\)"),
        (torch.rand(2, 0, 3, 64, 64), {}, r"frame.*\(2, 0, 3, 64, 64\)"),
        (torch.rand(2, 3, 3, 0, 64), {}, r"\bx .*\(2, 3, 3, 0, 64\)"),
        (torch.rand(2, 3, 3, 64, 64), {"lengths": [3, 4]}, r"lengths.*\b3\b.*\[3, 4\]"),
        (torch.rand(2, 3, 3, 64, 64), {"lengths": [3, 0]}, r"lengths.*\b3\b.*\[3, 0\]"),
        (torch.rand(2, 3, 3, 64, 64), {"lengths": [3]}, r"lengths.*\b2\b.*\(1,\)"),
        (torch.rand(2, 3, 64, 64), {"lengths": [1, 1]}, r"lengths.*\(2, 3, 64, 64\)"),
    ],
)
def test_rejects_invalid_input(x, kwargs, words):
    with pytest.raises(ValueError, match=words):
        light()(x, **kwargs)


def test_rejects_pixel_logits_of_several_levels():
    with pytest.raises(ValueError, match=r"global_pool.*'avg'"):
        light(global_pool="")(clips())


def test_checkpoints_do_not_count_a_batch_twice():
    models = [light().train() for _ in range(2)]
    models[1].set_grad_checkpointing()
    for model in models:
        loss = model(clips(2, 2)).sum()
        loss.backward(retain_graph=True)
        loss.backward()  # a checkpoint is recomputed twice
    for name, buffer in models[0].named_buffers():
        torch.testing.assert_close(buffer, dict(models[1].named_buffers())[name])
