"""Audio models: convolutions over frequencies, recurrent layers on their maps."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import convrnn_zoo
from convrnn_zoo.models.base.lengths import POOLS


def build(**kwargs):
    torch.manual_seed(0)
    options = {"in_chans": 10, "stem_channels": 3, "hidden_channels": [5, 4], "num_classes": 3, **kwargs}
    return convrnn_zoo.create_model("audio_convrnn", **options).eval()


def steps(bands=10):
    return torch.randn(2, 6, bands, 1, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rnn", convrnn_zoo.layers.KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_its_parts(rnn, bidirectional):
    model, x = build(rnn=rnn, bidirectional=bidirectional), steps()
    maps = model.stem(torch.nn.functional.pad(x.flatten(0, 1).transpose(1, 2), (0, 2))).unflatten(0, (2, 6))
    assert maps.shape == (2, 6, 3, 3)
    features = model.rnn(maps)[0].flatten(2)
    torch.testing.assert_close(model(x), model.head(features.mean(1)))
    torch.testing.assert_close(model.forward_features(x), features.unsqueeze(-1))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_is_not_read(pool, bidirectional):
    model, x = build(global_pool=pool, bidirectional=bidirectional), steps()
    x[1, 4:] = 1e4
    expected = torch.cat([model(x[:1]), model(x[1:, :4])])
    torch.testing.assert_close(model(x, lengths=[6, 4]), expected)
    torch.testing.assert_close(model(pack_padded_sequence(x, torch.tensor([6, 4]), batch_first=True)), expected)


def test_a_stream_ends_with_the_output_of_the_complete_sound():
    model, x = build(), steps()
    stream = convrnn_zoo.Stream(model)
    for piece in x.split(4, 1):
        output = stream(piece)
    torch.testing.assert_close(output, model(x))


@pytest.mark.parametrize(
    ("options", "match"), [({"rnn": "lstm"}, "rnn"), ({"stride": 0}, "stride"), ({"stem_channels": 0}, "stem_channels")]
)
def test_invalid_arguments_are_named(options, match):
    with pytest.raises(ValueError, match=match):
        build(**options)
