"""Teacher frames and masks of autoregressive forecasters."""

import pytest
import torch

from tests.helpers.models.forecasters import AUTOREGRESSIVE, FULL, tiny

EVERY = pytest.mark.parametrize("name", AUTOREGRESSIVE)


@pytest.fixture
def truth():
    return torch.rand(2, 6, 1, 8, 16)


@EVERY
def test_without_a_mask_the_teachers_frames_are_read(name, truth):
    model = tiny(name)
    taught = model(truth[:, :3], teacher=truth[:, 3:], return_aux=True)
    shorter = model(truth[:, :2], teacher=truth[:, 2:], return_aux=True)
    one_ahead = torch.cat([taught.warmup, taught.forecast], dim=1)
    assert taught.warmup.shape[1] == 2
    torch.testing.assert_close(torch.cat([shorter.warmup, shorter.forecast], dim=1), one_ahead)
    torch.testing.assert_close(model(truth[:, :5], horizon=1), taught.forecast[:, 2:])


@EVERY
def test_a_mask_of_only_the_input_is_the_plain_forecast(name, truth):
    model = tiny(name)
    mask = torch.tensor([[True, True, False, False]]).expand(2, 4)
    expected = model(truth[:, :3], horizon=3)
    torch.testing.assert_close(model(truth[:, :3], teacher=truth[:, 3:], mask=mask), expected)


@EVERY
def test_each_column_chooses_for_its_own_frame_and_sequence(name, truth):
    model = tiny(name)
    mask = torch.tensor([[False, True, False, True], [True, False, True, False]])
    out = model(truth[:, :3], teacher=truth[:, 3:], mask=mask, return_aux=True)
    actual = torch.cat([out.warmup, out.forecast], dim=1)  # of frames 1 to 5
    read = torch.where(mask[:, :, None, None, None], truth[:, 1:5], actual[:, :4])  # feeding it plainly does the same
    again = model(torch.cat([truth[:, :1], read], dim=1), horizon=1, return_aux=True)
    torch.testing.assert_close(torch.cat([again.warmup, again.forecast], dim=1), actual)


@EVERY
def test_the_forecast_does_not_read_the_last_true_frame(name, truth):
    model, other = tiny(name), truth.clone()
    other[:, -1] = 0
    a, b = (model(x[:, :3], teacher=x[:, 3:]) for x in (truth, other))
    assert torch.equal(a, b)


@EVERY
def test_errors_name_invalid_teachers_and_masks(name, truth):
    model = tiny(name)
    x, teacher = truth[:, :3], truth[:, 3:]
    mask = torch.ones(2, 4, dtype=torch.bool)
    for message, kwargs in (
        ("mask.*teacher", {"mask": mask}),
        (r"teacher.*\(2, 4, 1, 8, 16\).*\(2, 3, 1, 8, 16\)", {"teacher": teacher, "horizon": 4}),
        (r"teacher.*\(2, 3, 1, 8, 16\).*\(1, 3, 1, 8, 16\)", {"teacher": teacher[:1]}),
        (r"mask.*\(2, 4\).*\(2, 3\)", {"teacher": teacher, "mask": mask[:, 1:]}),
        ("mask.*float32", {"teacher": teacher, "mask": mask.float()}),
        ("mask.*True", {"teacher": teacher, "mask": True}),
    ):
        with pytest.raises(ValueError, match=message):
            model(x, **kwargs)


def test_predrnn_v2_shows_its_deltas_through_the_adapter_and_the_others_none(truth):
    for name in AUTOREGRESSIVE:
        model = tiny(name)
        deltas = model(truth[:, :3], horizon=2, return_aux=True).deltas
        if not hasattr(model, "adapter"):
            assert deltas == []
            continue
        assert len(deltas) == 4 * len(model.layers)
        if name == "predrnn_greenearthnet":
            assert deltas[0][0].shape == (2, 3, 2, 4)
            continue
        *_, to_c, to_m = model.layers[0](torch.pixel_unshuffle(truth[:, 0], 4), return_deltas=True)
        torch.testing.assert_close(deltas[0], (model.adapter(to_c), model.adapter(to_m)))
    assert hasattr(FULL["predrnn_v2"], "adapter")


def test_checkpoints_are_left_out_within_torch_func():
    model = tiny("convlstm_openstl_s", num_layers=1)
    x = torch.rand(1, 2, 1, 16, 16)
    expected = torch.func.grad(lambda x: model(x, 2).sum())(x)
    model.set_grad_checkpointing()
    torch.testing.assert_close(torch.func.grad(lambda x: model(x, 2).sum())(x), expected)
