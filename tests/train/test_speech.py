"""Classifiers of sound: what is drawn and changed in training, groups left out, and a run from files to an answer."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from convrnn_zoo import LogMel, from_pretrained
from convrnn_zoo.cli._group import cli
from convrnn_zoo.data import sequences_of
from convrnn_zoo.train import Recipe, train
from convrnn_zoo.train.augment import DECIBEL, Augment
from convrnn_zoo.train.classify import leave_one_out
from convrnn_zoo.train.parts import drawn, parted, split_of

RECIPE = dataclasses.replace(
    Recipe.read("fsdd_convgru1d_bi_2layer"),
    seeds=(0,),
    epochs=2,
    batch_size=4,
    bucket=2,
    model={"hidden_channels": 3, "kernel_size": 1, "global_pool": "avg"},
)


# ---- what is drawn -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bucket", [0, 3, 100])
def test_an_epoch_has_every_recording_once(bucket):
    lengths = torch.randint(1, 50, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    torch.manual_seed(1)
    epochs = [list(drawn(lengths, dataclasses.replace(RECIPE, bucket=bucket))) for _ in range(2)]
    assert epochs[0] != epochs[1]
    for batches in epochs:
        assert sorted(i for batch in batches for i in batch) == list(range(50))
        assert max(map(len, batches)) == 4
    read = sum(len(batch) * max(lengths[i] for i in batch) for batch in epochs[0])
    if bucket == 100:  # all at once: nearly nothing is padded
        assert read < 1.15 * sum(lengths)
    if not bucket:
        assert read > 1.3 * sum(lengths)


# ---- what is changed -----------------------------------------------------------------------------------------------
def test_nothing_is_changed_unless_said():
    x = torch.randn(9, 5, 1)
    assert torch.equal(Augment()(x, torch.zeros(5)), x)
    assert RECIPE.augmentation() is not None
    assert dataclasses.replace(RECIPE, augment={}).augmentation() is None


def test_each_change_is_what_it_says():
    torch.manual_seed(0)
    x, mean = torch.randn(30, 12, 1), torch.full((12,), 7.0)
    loud = Augment(gain=6.0)(x, mean) - x
    assert loud.std() < 1e-5 < loud.abs().max() < 6 * 5 * DECIBEL
    color = Augment(color=6.0)(x, mean) - x
    assert torch.allclose(color, color[:1].expand_as(color), atol=1e-5)  # the same at every step
    assert abs(color.mean()) < 1e-5 < color.std()
    hiss = Augment(hiss=20.0)(x, mean)
    assert bool((hiss > x).all())
    ramp = torch.arange(12.0).reshape(1, 12, 1).expand(4, 12, 1)
    for _ in range(5):
        warped = Augment(warp=0.2)(ramp, mean)[0, :, 0]
        factor = (warped[5] / 5).item()
        assert 0.8 <= factor <= 1.2
        assert torch.allclose(warped, (torch.arange(12) * factor).clamp(0, 11), atol=1e-4)
    lengths = {len(Augment(stretch=0.5)(x, mean)) for _ in range(50)}
    assert min(lengths) >= 15
    assert max(lengths) <= 45
    assert len(lengths) > 10
    for name, axis, most in (("steps", 0, 4), ("bands", 1, 3)):
        widths = set()
        for _ in range(60):
            masked = (Augment(**{name: most})(x, mean) == 7.0).all(1 - axis).flatten().nonzero().flatten()
            widths.add(len(masked))
            assert not len(masked) or masked[-1] - masked[0] + 1 == len(masked)
        assert widths == set(range(most + 1))
    assert len(Augment(stretch=0.9, steps=9)(x[:1], mean)) >= 1


def test_what_is_for_sound_is_refused_where_there_is_none(tmp_path):
    np.savez(tmp_path / "a.npz", labels=["a", "b"] * 3, **{f"r{i}": np.ones((4, 5)) for i in range(6)})
    for data, augment, told in (
        ({}, {"gain": 3.0, "bands": 2}, "augment has gain, bands"),
        ({"front_end": {"bands": 9}}, {}, r"data\.front_end"),
    ):
        recipe = dataclasses.replace(RECIPE, data={"kind": "sequences", "name": "a", **data}, augment=augment)
        path = tmp_path if data else tmp_path / "a.npz"
        with pytest.raises(ValueError, match=told):
            split_of(sequences_of(recipe.data), recipe, path, "train")


def test_entries_of_augment_are_checked():
    with pytest.raises(ValueError, match=r"augment\.gain must be at least 0, got -1"):
        dataclasses.replace(RECIPE, augment={"gain": -1})
    with pytest.raises(ValueError, match="loudness"):
        dataclasses.replace(RECIPE, augment={"loudness": 1})


# ---- from files to an answer ---------------------------------------------------------------------------------------
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


def test_a_run_tells_of_every_speaker_left_out(spoken, trained):
    out, record = trained
    official, unheard, *each = record.metrics
    assert (official.name, official.split) == ("accuracy", "official test split (6)")
    assert [m.name for m in each] == ["accuracy, ann unseen", "accuracy, bob unseen"]
    assert [m.split for m in each] == ["all 12 recordings of ann", "all 12 recordings of bob"]
    assert unheard.value == unheard.mean == pytest.approx(sum(m.value for m in each) / 2, abs=0.01)
    assert unheard.runs == 2
    source = sequences_of(RECIPE.data)
    whole, test = (split_of(source, RECIPE, spoken, split) for split in ("train", "test"))
    again = leave_one_out(RECIPE, whole, test, out=out, progress=False)  # from their checkpoints
    assert {name: round(100 * a, 2) for name, (a, _) in again.items()} == {m.name.split()[1]: m.value for m in each}


def test_groups_that_are_not_there_are_told(spoken, tmp_path):
    whole = split_of(sequences_of(RECIPE.data), RECIPE, spoken, "train")
    ann = parted(whole, [i for i, g in enumerate(whole.groups) if g == "ann"])
    for data in (ann, whole._replace(groups=())):
        with pytest.raises(ValueError, match="leave_one_out needs data in two or more groups"):
            leave_one_out(RECIPE, data, data, out=tmp_path, progress=False)


def run(*args, code=0):
    result = CliRunner().invoke(cli, [str(a) for a in args])
    assert result.exit_code == code, result.output
    return result.output


def test_the_run_hears_files_as_it_was_trained_to(spoken, trained, tmp_path):
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
    assert "reads its sequence in both directions" in run("predict", out, files[0], "-o", tmp_path / "a.png", code=1)
    assert "--json" in run("predict", out, files[0], "--json", "-o", tmp_path / "a.png", code=1)
    assert "pass one, or -o a .json" in run("predict", out, *files, "-o", tmp_path / "a.png", code=1)
    assert list(tmp_path.iterdir()) == []


def test_the_answer_of_a_model_of_one_direction_is_drawn(spoken, tmp_path):
    recipe = dataclasses.replace(RECIPE, weights="convgru1d_1layer.tones", epochs=1, leave_one_out=False)
    train(recipe, data=spoken, out=tmp_path / "run", progress=False)
    file = spoken / "recordings" / "2_ann_0.wav"
    for name in ("a.png", "a.svg"):
        assert "classes over" in run("predict", tmp_path / "run", file, "-o", tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_fine_tuning_hears_as_the_weights_that_it_begins_with(spoken, trained, tmp_path):
    for label, digit in (("low", 0), ("high", 2)):
        (tmp_path / "own" / label).mkdir(parents=True)
        for file in (spoken / "recordings").glob(f"{digit}_*.wav"):
            (tmp_path / "own" / label / file.name).write_bytes(file.read_bytes())
    own = {"kind": "sequences", "name": "tones"}
    recipe = dataclasses.replace(
        RECIPE, weights="convgru1d_bi_2layer.tones", data=own, start=str(trained[0]), leave_one_out=False
    )
    record = train(recipe, data=tmp_path / "own", out=tmp_path / "run", progress=False)
    assert record.front_end == LogMel(rate=8000)
    other = dataclasses.replace(recipe, data={**own, "front_end": {"hop": 0.01}})
    with pytest.raises(ValueError, match=r"data\.front_end"):
        train(other, data=tmp_path / "own", out=tmp_path / "other", progress=False)


def test_data_that_are_not_there_are_told(tmp_path):
    source = sequences_of({"kind": "fsdd"})
    with pytest.raises(FileNotFoundError, match=r"git clone .*, and pass --data DIR"):
        source.load(None, "test")
    with pytest.raises(FileNotFoundError, match=r"7_george_12\.wav"):
        source.load(tmp_path, "test")
