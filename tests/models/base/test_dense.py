"""Dense models: the recurrent decoder of Robust Video Matting, and BCDU-Net."""

import pytest
import torch

import convrnn_zoo

DECODER, BCDUNET = "rvm_mobilenetv3", "bcdunet_d3"


def count(module):
    return sum(p.numel() for p in module.parameters())


def decoder(**kwargs):
    torch.manual_seed(0)
    kwargs = {"num_classes": 2, "aspp_channels": 8, "widths": (8, 4, 4, 4), "chunk_size": 2, **kwargs}
    return convrnn_zoo.models.rvm.RecurrentDecoderModel("mobilenetv3_small_100", **kwargs).eval()


def bcdunet(**kwargs):
    torch.manual_seed(0)
    return convrnn_zoo.create_model(BCDUNET, **{"in_chans": 2, "num_classes": 3, "widths": (4, 8, 8), **kwargs}).eval()


def clips(n=2, steps=4, size=(32, 32), channels=3):
    return torch.rand(n, steps, channels, *size, generator=torch.Generator().manual_seed(1))


def test_the_decoders_parts_have_the_papers_counts():
    model = convrnn_zoo.create_model(DECODER, num_classes=4, device="meta")
    assert (count(model.encoder), count(model.aspp), count(model.head)) == (2_971_952, 246_016, 68)
    assert count(model.grus) + count(model.joins) + count(model.last) == 529_772
    assert model.encoder.widths == [16, 24, 40, 960]


@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_the_decoder_streams_and_reads_frames(size):
    model, x = decoder(), clips(size=size)
    complete, state, parts = model(x), None, []
    assert complete.shape == (2, 4, 2, *size)
    for chunk in x.split((1, 3), dim=1):
        features, state = model.forward_sequence(chunk, state)
        parts.append(model.forward_head(features))
    torch.testing.assert_close(torch.cat(parts, 1), complete, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(x[:, 0]), complete[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(x[:, :2]), complete[:, :2], atol=1e-5, rtol=1e-5)  # what comes later is not read


def test_bcdunet_reads_skip_and_decoder_in_both_directions():
    model = bcdunet()
    assert all(up.rnn.bidirectional for up in model.ups)
    model.train()(torch.rand(2, 2, 8, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.ups.parameters() if p.dim() > 1)
    assert [block[0].in_channels for block in convrnn_zoo.create_model(BCDUNET, device="meta").dense] == [
        256,
        512,
        1024,
    ]


def test_bcdunet_reads_each_image_of_a_series_by_itself():
    model, x = bcdunet(), clips(channels=2, size=(8, 12))
    out = model(x)
    assert out.shape == (2, 4, 3, 8, 12)
    torch.testing.assert_close(out[:, 1], model(x[:, 1]), atol=1e-6, rtol=1e-5)
    model.prune_intermediate_layers([0])
    assert model.num_classes == 0


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: decoder()(clips(size=(8, 8))), r"frames.*\b16.*\(8, 8\)"),
        (lambda: decoder()(clips(steps=0)), r"frame.*\(2, 0, 3, 32, 32\)"),
        (lambda: decoder()(clips(channels=1)), r"\b3 .*channels.*axis 2 of x.*\b1\b"),
        (lambda: decoder()(clips()[0, 0]), r"\bx .*\(3, 32, 32\)"),
        (lambda: decoder()(clips(), [torch.rand(1, 2, 4, 3, 3)] * 4), r"h_0.*\(1, 2, 4, 3, 3\)"),
        (lambda: decoder(widths=(7, 4, 4, 4)), r"aspp_channels.*\[7\]"),
        (lambda: convrnn_zoo.models.rvm.RecurrentDecoderModel("vgg11", device="meta"), "vgg11"),
        (lambda: bcdunet()(clips(channels=2, size=(6, 8))), r"\b4\b.*\(6, 8\)"),
        (lambda: bcdunet()(clips(channels=1)), r"\b2 .*channels.*axis 2 of x.*\b1\b"),
        (lambda: bcdunet(widths=(4,)), r"widths.*\[4\]"),
    ],
)
def test_rejects_invalid_arguments(act, words):
    with pytest.raises((ValueError, TypeError), match=words):
        act()


def test_checkpoints_do_not_count_a_batch_twice():
    models = [decoder().train() for _ in range(2)]
    models[1].set_grad_checkpointing()
    for model in models:
        model(torch.rand(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))).sum().backward()
    for name, buffer in models[0].encoder.named_buffers():
        torch.testing.assert_close(buffer, dict(models[1].encoder.named_buffers())[name])


def test_padding_does_not_reach_the_gradients():
    model = decoder().train()
    x = torch.rand(2, 3, 3, 32, 32)
    x[1, 2] = torch.nan
    model(x, lengths=torch.tensor([3, 2])).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert all(buffer.isfinite().all() for buffer in model.buffers())
