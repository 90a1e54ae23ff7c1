"""Weights saved in another precision than the model's."""

import pytest
import torch

import convrnn_zoo
from convrnn_zoo import from_pretrained, save_pretrained
from tests.helpers.hub.examples import make


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_saves_in_a_dtype_without_changing_the_model(dtype, tmp_path):
    model = make("convgru2d_bi_2layer", num_classes=3).eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    save_pretrained(model, tmp_path, dtype=dtype)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    saved = from_pretrained(tmp_path).eval()
    assert {p.dtype for p in saved.parameters()} == {dtype}
    assert all(torch.equal(v, before[k].to(dtype)) for k, v in saved.state_dict().items())
    again = from_pretrained(tmp_path, dtype=torch.float32).eval() if dtype != torch.float64 else saved
    x = torch.randn(2, 3, model.in_chans, 6, 5)
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float64: 1e-6}[dtype]
    for one in (saved, again):
        output = one(x.to(next(one.parameters()).dtype)).float()
        torch.testing.assert_close(output, model(x), atol=tolerance, rtol=tolerance)


def test_several_dtypes_are_saved_if_they_load_unrounded(tmp_path):
    model = make(num_classes=3)
    model.head.half()
    save_pretrained(model, tmp_path / "half")
    assert from_pretrained(tmp_path / "half").head.weight.dtype == torch.float32
    model.head.double()
    with pytest.raises(convrnn_zoo.WeightsError, match=r"head\.weight"):
        save_pretrained(model, tmp_path / "double")
    assert not (tmp_path / "double").exists()
    save_pretrained(model, tmp_path / "double", dtype=torch.float64)
    assert from_pretrained(tmp_path / "double").head.weight.dtype == torch.float64


def test_rejects_values_beyond_the_dtype(tmp_path):
    model = make()
    with torch.no_grad():
        model.rnn.weight_hh_l0[0] = 1e5
    with pytest.raises(convrnn_zoo.WeightsError, match=r"weight_hh_l0.*torch\.float16"):
        save_pretrained(model, tmp_path / "model", dtype=torch.float16)
    with pytest.raises(TypeError, match=r"dtype.*torch\.int8"):
        save_pretrained(model, tmp_path / "model", dtype=torch.int8)
    assert not (tmp_path / "model").exists()
    save_pretrained(model, tmp_path / "model", dtype=torch.bfloat16)
