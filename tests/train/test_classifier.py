"""Training audio classifiers: batches, splits, and a run from files to predictions."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from convrnn_zoo import LogMel, from_pretrained
from convrnn_zoo.data import read_dataset
from convrnn_zoo.recipes import Recipe
from convrnn_zoo.train import train
from convrnn_zoo.train.classifier import load_labelled, sample_batches
from convrnn_zoo_command.group import cli

RECIPE = dataclasses.replace(
    Recipe.read("fsdd_audio_convrnn"),
    weights="convgru1d_bi_2layer.tones",
    seeds=(0,),
    epochs=2,
    batch_size=4,
    bucket_batches=2,
    model={"hidden_channels": 3, "kernel_size": 1, "global_pool": "avg"},
)


@pytest.mark.parametrize("bucket", [0, 3, 100])
def test_an_epoch_has_every_recording_once(bucket):
    lengths = torch.randint(1, 50, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    torch.manual_seed(1)
    epochs = [list(sample_batches(lengths, dataclasses.replace(RECIPE, bucket_batches=bucket))) for _ in range(2)]
    assert epochs[0] != epochs[1]
    for batches in epochs:
        assert sorted(i for batch in batches for i in batch) == list(range(50))
        assert max(map(len, batches)) == 4
    read = sum(len(batch) * max(lengths[i] for i in batch) for batch in epochs[0])
    if bucket == 100:  # all at once: nearly nothing is padded
        assert read < 1.15 * sum(lengths)
    if not bucket:
        assert read > 1.3 * sum(lengths)


def test_fields_for_sound_are_rejected_without_sound(tmp_path):
    np.savez(tmp_path / "a.npz", labels=["a", "b"] * 3, **{f"r{i}": np.ones((4, 5)) for i in range(6)})
    for data, augment, message in (
        ({}, {"gain": 3.0, "bands": 2}, "augment.*gain, bands"),
        ({"front_end": {"bands": 9}}, {}, r"data\.front_end"),
    ):
        recipe = dataclasses.replace(RECIPE, data={"kind": "sequences", "name": "a", **data}, augment=augment)
        path = tmp_path if data else tmp_path / "a.npz"
        with pytest.raises(ValueError, match=message):
            load_labelled(recipe, path, ["train"])


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Digits as tones, by two speakers of other loudness: index 0 is of the test."""
    soundfile = pytest.importorskip("soundfile", reason="the extra sound")
    directory = tmp_path_factory.mktemp("spoken")
    (directory / "recordings").mkdir()
    rng = np.random.default_rng(0)
    for digit in range(3):
        for speaker, loud in (("ann", 0.5), ("bob", 0.1)):
            for index in (0, 5, 6, 7):
                time = np.arange(rng.integers(800, 2400)) / 8000
                wave = loud * np.sin(2 * np.pi * 500 * (digit + 1) * time) + 0.001 * rng.normal(size=len(time))
                soundfile.write(directory / "recordings" / f"{digit}_{speaker}_{index}.wav", wave, 8000)
    return directory


@pytest.fixture(scope="module")
def trained(spoken, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return out, train(RECIPE, data=spoken, out=out, progress=False)


def test_a_run_states_its_split_and_its_baseline(trained):
    _, metadata = trained
    (metric,) = metadata.metrics
    assert (metric.name, metric.split, metric.runs) == ("accuracy", "official test split (6)", 1)
    assert metric.baselines == {"commonest class": pytest.approx(100 / 3, abs=0.01)}


def run(*args, code=0):
    result = CliRunner().invoke(cli, [str(a) for a in args])
    assert result.exit_code == code, result.output
    return result.output


def test_predict_reads_files_as_training_did(spoken, trained, tmp_path):
    out, record = trained
    model = from_pretrained(out)
    assert model.front_end == record.front_end == LogMel(rate=8000)
    files = sorted((spoken / "recordings").glob("*_0.wav"))
    rows = json.loads(run("predict", out, *files, "--json"))
    assert [row["file"] for row in rows] == [str(file) for file in files]
    names = ("zero", "one", "two")
    right = sum(row["prediction"] == names[int(file.name[0])] for row, file in zip(rows, files, strict=True))
    assert round(100 * right / 6, 2) == record.metrics[0].value
    assert f"{record.metrics[0].value:.2f} %" in run("eval", out, "--data", spoken)
    assert json.loads(run("info", out, "--json"))["sound"] == record.front_end.to_json()
    assert "both directions" in run("predict", out, files[0], "-o", tmp_path / "a.png", code=1)
    assert "--json" in run("predict", out, files[0], "--json", "-o", tmp_path / "a.png", code=1)
    assert "-o FILE.json" in run("predict", out, *files, "-o", tmp_path / "a.png", code=1)
    assert list(tmp_path.iterdir()) == []


def test_missing_data_are_reported(tmp_path):
    source = read_dataset({"kind": "fsdd"})
    with pytest.raises(FileNotFoundError, match=r"--data .*git clone"):
        source.load(None, "test")
    with pytest.raises(FileNotFoundError, match=r"7_george_12\.wav"):
        source.load(tmp_path, "test")
