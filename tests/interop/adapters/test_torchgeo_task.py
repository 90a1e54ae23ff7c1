"""The segmentation task of TorchGeo with models of the zoo."""

import pytest
import torch

pytest.importorskip("torchgeo.tasks", reason="pip install 'torchgeo>=0.10'", exc_type=ImportError)

from convrnn_zoo.interop.adapters.torchgeo import SpatioTemporalSegmentation


def batch():
    torch.manual_seed(1)
    return {"image": torch.rand(2, 4, 3, 16, 16), "mask": torch.randint(5, (2, 16, 16)), "length": torch.tensor([4, 2])}


@pytest.mark.parametrize("name", ["convlstm2d_1layer", "utae_convgru", "firenet"])
def test_a_step_of_training_lowers_the_loss(name):
    torch.manual_seed(0)
    task = SpatioTemporalSegmentation(model=name, in_channels=3, num_classes=5, hidden_channels=8, lr=1e-2)
    task.log = lambda *args, **kwargs: None  # which needs a trainer
    data = batch()
    assert task(data["image"], lengths=data["length"]).shape == (2, 5, 16, 16)
    optimizer, losses = torch.optim.AdamW(task.parameters(), lr=1e-2), []
    for _ in range(4):
        losses.append(task.training_step(data, 0))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    probabilities = task.eval().predict_step(data, 0)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 16, 16))


def test_padding_has_no_effect():
    task = SpatioTemporalSegmentation(model="convlstm2d_1layer", in_channels=3, num_classes=5).eval()
    data = batch()
    short = task(data["image"], lengths=data["length"])[1]
    torch.testing.assert_close(short, task(data["image"][1:, :2])[0])


def test_a_checkpoint_restores_the_task(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch", reason="pip install lightning")
    task = SpatioTemporalSegmentation(model="convgru2d_1layer", in_channels=3, num_classes=5, hidden_channels=4)
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False,
                                default_root_dir=tmp_path, enable_model_summary=False)  # fmt: skip
    data = {key: value[0] for key, value in batch().items() if key != "length"}
    loader = torch.utils.data.DataLoader([data] * 2, batch_size=2)
    trainer.fit(task, loader, loader)
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    again = SpatioTemporalSegmentation.load_from_checkpoint(tmp_path / "task.ckpt", weights_only=False).eval()
    x = batch()["image"]
    torch.testing.assert_close(again(x), task.eval()(x))


def test_models_without_an_output_for_every_pixel_are_errors():
    with pytest.raises(ValueError, match="every pixel"):
        SpatioTemporalSegmentation(model="convgru_forecaster", in_channels=3, num_classes=5)
