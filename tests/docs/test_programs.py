"""The classes of the page "Other programs", run by the programs that they are for."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

import convrnn_zoo
from tests.helpers.docs.pages import ROOT

PAGE = (ROOT / "docs" / "how-to" / "programs.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.slow


def run_example(title: str) -> dict[str, Any]:
    """Runs the first Python block of a section and returns its names."""
    code = PAGE.partition(f"## {title}\n")[2].partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, title, "exec"), names)
    return names


def test_mlcast_trains_and_runs_the_network() -> None:
    nowcasting = pytest.importorskip("mlcast.nowcasting_module", reason="pip install mlcast")
    network_class = run_example("A network for mlcast")["MLCastNetwork"]
    network = network_class(convrnn_zoo.create_model("convgru_forecaster", hidden_channels=[4, 4]))
    module = nowcasting.NowcastLightningModule(network=network, loss_class="mse")
    module.network(2 * torch.rand(2, 4, 1, 20, 24) - 1, steps=3).square().mean().backward()
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)

    rain = torch.from_numpy(np.random.default_rng(0).gamma(0.5, 4.0, (4, 42, 50))).float()
    trained = convrnn_zoo.create_model("convgru_forecaster.rain", pretrained=True).eval()
    module = nowcasting.NowcastLightningModule(network=network_class(trained), loss_class="mse")
    predicted = module.predict(rain, 3, standard_name="rainfall_rate")[0]
    expected = trained.forecast(torch.where(rain > 0.0365, rain, 0), 3).numpy()  # what mlcast sees
    np.testing.assert_allclose(predicted[expected > 0.1], expected[expected > 0.1], rtol=0.05, atol=0.05)
    nowcast = network_class(convrnn_zoo.create_model("convgru_advection.nowcast", pretrained=True).eval())
    members = nowcast(torch.rand(1, 4, 1, 32, 32) - 1, steps=2, ensemble_size=3)
    assert members.shape == (1, 2, 3, 32, 32)
    assert members.std(2).max() > 0


@pytest.mark.parametrize("name", ["convlstm2d_1layer", "utae_convgru", "firenet"])
def test_torchgeo_trains_the_task(name: str) -> None:
    pytest.importorskip("torchgeo.tasks", reason="pip install 'torchgeo>=0.10'", exc_type=ImportError)
    task_class = run_example("A task for TorchGeo")["ZooSegmentation"]
    torch.manual_seed(0)
    task = task_class(model=name, in_channels=3, num_classes=5, hidden_channels=8, lr=1e-2)
    task.log = lambda *args, **kwargs: None  # which needs a trainer
    data = {"image": torch.rand(2, 4, 3, 16, 16), "mask": torch.randint(5, (2, 16, 16)), "length": torch.tensor([4, 2])}
    optimizer, losses = torch.optim.AdamW(task.parameters(), lr=1e-2), []
    for _ in range(4):
        losses.append(task.training_step(data, 0))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    task.eval()
    short = task(data["image"], lengths=data["length"])[1]
    torch.testing.assert_close(short, task(data["image"][1:, :2])[0])  # padding has no effect


def test_earth2studio_runs_the_forecaster() -> None:
    run = pytest.importorskip("earth2studio.run", reason="pip install earth2studio")
    from earth2studio.data import Random
    from earth2studio.io import KVBackend
    from earth2studio.models.px.base import PrognosticModel

    names = run_example("A prognostic model for earth2studio")
    prognostic = names["prognostic"]
    assert isinstance(prognostic, PrognosticModel)
    source = Random(OrderedDict(lat=names["latitudes"], lon=names["longitudes"]))
    io = run.deterministic(["2024-01-01", "2024-01-02"], 3, prognostic, source, KVBackend(), device="cpu")
    assert io["t2m"].shape == (2, 4, 41, 41)
    assert np.isfinite(np.asarray(io["t2m"])).all()

    coords = OrderedDict(time=np.array([np.datetime64("2024-01-01")]), **prognostic.input_coords())
    del coords["batch"]
    x = 280 + 10 * torch.randn(1, 4, 2, 41, 41)
    steps = prognostic.create_iterator(x, coords)
    first, second, third = next(steps), next(steps), next(steps)
    torch.testing.assert_close(first[0], x[:, -1:])
    torch.testing.assert_close(second[0], prognostic.model.forecast(x, 1))
    torch.testing.assert_close(third[0], prognostic.model.forecast(torch.cat([x[:, 1:], second[0]], 1), 1))
    hours = [step[1]["lead_time"].astype("timedelta64[h]").astype(int).tolist() for step in (first, second, third)]
    assert hours == [[0], [6], [12]]
    with pytest.raises(ValueError, match="lat"):
        prognostic(x, coords | {"lat": coords["lat"][::-1]})


def test_aeon_fits_the_classifier() -> None:
    checks = pytest.importorskip("aeon.testing.estimator_checking", reason="pip install 'convrnn-zoo[data]'")
    names = run_example("A classifier for aeon")
    classifier, series = names["classifier"], names["X"][14:]
    assert classifier.score(series, names["y"][14:]) == 1.0
    alone = np.concatenate([classifier.predict_proba([x]) for x in series])
    np.testing.assert_allclose(alone, classifier.predict_proba(series), atol=1e-5)  # padding has no effect
    checks.check_estimator(
        names["ConvRNNClassifier"],
        checks_to_run=["check_constructor", "check_get_params", "check_set_params", "check_clone"],
    )
