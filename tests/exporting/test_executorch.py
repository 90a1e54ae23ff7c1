"""Programs of ExecuTorch equal the models in its runtime; skipped where ExecuTorch is not installed."""

import importlib.util

import pytest
import torch

from convrnn_zoo import ExportError, Preprocessing, create_model, export
from convrnn_zoo.exporting.executorch import bound_sizes, load_executorch, to_executorch
from convrnn_zoo.exporting.forms import make_spec

HAS_EXECUTORCH = importlib.util.find_spec("executorch") is not None


def needs_executorch(test):
    test = pytest.mark.filterwarnings("ignore")(test)  # of its imports
    return pytest.mark.skipif(not HAS_EXECUTORCH, reason="executorch is not installed")(test)


def classifier():
    torch.manual_seed(0)
    return create_model("convgru1d_2layer", in_chans=1, hidden_channels=4, num_classes=2).eval()


def test_sizes_have_bounds_and_states_of_loops_have_one_size():
    spec = bound_sizes(make_spec(classifier(), "sequence"), {"length": 12, "time": 40}, has_loop=True)
    assert spec.max_size == {"batch": 1, "time": 40, "length": 12}
    assert (spec.min_size["length"], spec.min_size.get("time", 1)) == (12, 1)
    spec = bound_sizes(make_spec(classifier(), "step"), {"batch": 3}, has_loop=False)
    assert (spec.max_size, spec.min_size) == ({"batch": 3, "length": 64}, {})
    with pytest.raises(ExportError, match="batch, length, got 'width'"):
        bound_sizes(make_spec(classifier(), "step"), {"width": 3}, has_loop=False)


@pytest.mark.skipif(HAS_EXECUTORCH, reason="executorch is installed")
def test_without_executorch_the_error_states_the_command(tmp_path):
    with pytest.raises(ImportError, match=r"pip install 'convrnn-zoo\[executorch\]'"):
        export(classifier(), tmp_path / "a.pte", format="executorch")
    assert not list(tmp_path.iterdir())


@needs_executorch
@pytest.mark.parametrize("form", ["step", "sequence"])
def test_a_classifier_runs_in_executorch(form, tmp_path):
    model = classifier()
    (path,) = export(model, tmp_path / "a.pte", form, "executorch", max_sizes={"length": 9})
    spec = make_spec(model, form)
    run = load_executorch(path, spec.graphs[""])
    x = torch.randn(1, 7, 1, 9)
    if form == "sequence":
        outputs = run({"input": x, "lengths": torch.tensor([7])})
    else:
        values = spec.graphs[""].zero_states({"batch": 1, "length": 9})
        for frame in x.unbind(1):
            outputs = run({"input": frame, **values})
            values = {name: outputs[name.removesuffix("_in") + "_out"] for name in values}
    with torch.no_grad():
        torch.testing.assert_close(outputs["output"], model(x), atol=1e-5, rtol=0)


@needs_executorch
@pytest.mark.slow
def test_a_forecaster_runs_in_executorch_in_the_unit_of_the_data(tmp_path):
    torch.manual_seed(0)
    model = create_model("convgru_forecaster", hidden_channels=[4, 4], kernel_size=3, horizon=3).eval()
    model.preprocessing = Preprocessing(encoding="log", floor=0.1, top=100.0, unit="mm/h", step=5.0, lowest=0.0)
    (path,) = export(model, tmp_path / "a.pte", format="executorch", max_sizes={"height": 16, "width": 24})
    rain = 5 * torch.rand(1, 6, 1, 16, 24)
    rain[..., :2] = torch.nan
    output = load_executorch(path, make_spec(model, "sequence", horizon=3).graphs[""])({"input": rain})["output"]
    torch.testing.assert_close(output, model.forecast(rain, 3), atol=1e-4, rtol=1e-5, equal_nan=True)


class _Sort(torch.nn.Module):
    def forward(self, x):
        return x.sort(-1, descending=True)[0], x.sort(1)[0]


@needs_executorch
def test_sorting_is_a_selection_of_all_values():
    executorch = pytest.importorskip("executorch.runtime")

    x = torch.rand(2, 30, generator=torch.Generator().manual_seed(0))
    program = to_executorch(torch.export.export(_Sort(), (x,)), {})
    loaded = executorch.Runtime.get().load_program(program, verification=executorch.Verification.Minimal)
    for actual, expected in zip(loaded.load_method("forward").execute([x]), _Sort()(x), strict=True):
        torch.testing.assert_close(actual, expected, atol=0, rtol=0)


@needs_executorch
@pytest.mark.slow
def test_a_nowcast_runs_in_executorch(tmp_path):
    """The motion estimate and the loops of the recurrent layers are part of the program."""
    torch.manual_seed(0)
    model = create_model("convgru_advection", hidden_channels=(4, 6)).eval()
    model.preprocessing = Preprocessing(unit="mm/h", lowest=0.0, step=5.0, inputs=3, horizon=2)
    (path,) = export(model, tmp_path / "a.pte", format="executorch", size=(32, 48), horizon=2)
    graph = make_spec(model, "sequence", horizon=2, size=(32, 48)).graphs[""]
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(48.0), indexing="ij")
    rain = torch.stack([20 * (-((x - 20 - 2 * t) ** 2 + (y - 16 + t) ** 2) / 40).exp() for t in range(3)])[
        None, :, None
    ]
    outputs = load_executorch(path, graph)({"input": rain})
    torch.testing.assert_close(outputs["output"], model.forecast(rain, 2), atol=1e-3, rtol=1e-3)
