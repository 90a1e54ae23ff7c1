"""Scores during and after the training of classifiers: means over samples, in small batches, after the weights."""

import csv
import dataclasses
import sys

import pytest
import torch
import torch.nn.functional as F

import convrnn_zoo
from convrnn_zoo.data import Labelled
from convrnn_zoo.recipes import ClassifierRecipe
from convrnn_zoo.train import classifier, train

RECIPE = ClassifierRecipe(
    weights="convgru1d_1layer.still",
    data={"kind": "sequences", "name": "noise"},
    description="Tells noise from noise.",
    license="mit",
    epochs=2,
    batch_size=4,
    lr=1e-12,  # the weights do not change
    model={"hidden_channels": 4},
)


def noise(count=17, seed=0):
    """Sequences of two classes, one of which is three times as frequent."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 6, (count,), generator=generator).tolist()
    sequences = [torch.randn(n, 2, 1, generator=generator) for n in lengths]
    return Labelled(sequences, (torch.arange(count) % 4 == 0).long(), ("often", "rarely"))


def check_rows(file, model, data, weights=None):
    """Checks that the losses and accuracies of all epochs are those of `model` on all of `data`."""
    logits = classifier.compute_logits(model, data)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == 2
    for row in rows:
        assert float(row["accuracy"]) == pytest.approx((logits.argmax(1) == data.labels).double().mean().item())
        assert float(row["loss"]) == pytest.approx(F.cross_entropy(logits, data.labels, weights).item(), rel=1e-5)


@pytest.mark.parametrize("weights", [(), (1.0, 9.0)])
@pytest.mark.parametrize("accumulated", [1, 3])
def test_loss_and_accuracy_are_means_over_samples(weights, accumulated, tmp_path):
    recipe = dataclasses.replace(RECIPE, class_weights=weights, grad_accum_steps=accumulated)
    train(recipe, data={"train": noise(), "test": noise(seed=1)}, out=tmp_path, progress=False)  # 17 = 4 · 4 + 1
    model = convrnn_zoo.from_pretrained(tmp_path)
    check_rows(tmp_path / "training_seed0.csv", model, noise(), torch.tensor(weights) if weights else None)


def test_a_missing_package_of_the_figures_is_found_before_training(tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"matplotlib.*pip install"):
        train(RECIPE, data={"train": noise(), "test": noise(seed=1)}, out=tmp_path, progress=False)
    assert not list(tmp_path.glob("*.ckpt"))


def bumps(count=64, seed=0):
    """Sequences in which one of two channels rises; backwards it falls."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    sequences = 0.1 * torch.randn(count, 12, 2, generator=generator)
    sequences[torch.arange(count), :, labels] += torch.linspace(-2, 2, 12)
    return Labelled(list(sequences.unsqueeze(-1)), labels, ("first", "second"))


@pytest.mark.slow
def test_negatives_make_what_is_no_class_improbable(tmp_path):
    recipe = dataclasses.replace(RECIPE, lr=0.02, epochs=15, model={"hidden_channels": 8, "global_pool": "avg"})
    data = {"train": bumps(), "validation": bumps(20, 1), "test": bumps(20, 2)}
    backwards = [x.flip(0) for x in bumps(20, 3).sequences]
    top = {}
    for negatives in (0.0, 0.5):
        out = tmp_path / str(negatives)
        with_key = dataclasses.replace(recipe, negatives=negatives)
        record = train(with_key, data=data, out=out, progress=False)
        assert record.metrics[0].value == 100
        model = convrnn_zoo.from_pretrained(out)
        probabilities = [p.probability for p in model.classify(data["validation"].sequences)]
        top[negatives] = sum(p.probability for p in model.classify(backwards)) / len(backwards)
        if negatives:
            assert sorted(probabilities)[0] <= record.threshold <= sorted(probabilities)[1] + 1e-3  # 95 % of twenty
            assert model.metadata.threshold == record.threshold
        else:
            assert record.threshold is None
    assert top[0.5] < 0.7 < top[0.0]
