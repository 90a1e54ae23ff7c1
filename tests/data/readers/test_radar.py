"""Radar files are read as mm/h, events divided in time, and crops taken where the radars see rain."""

import math
from datetime import datetime, timedelta

import h5py
import numpy as np
import pytest
import torch

from convrnn_zoo import WEIGHTS
from convrnn_zoo.data import FRAME_DATASETS, split_in_time
from convrnn_zoo.data.readers import FileError
from convrnn_zoo.data.readers.radar import read_composite, read_events, read_time
from tests.made_data import write_fmi, write_knmi

NOON = datetime(2010, 8, 26, 12)


def test_knmi_counts_are_hundredths_of_a_millimetre_in_five_minutes(tmp_path):
    path = write_knmi(tmp_path, NOON, np.array([[0, 100], [7, 65535]]))
    rate = read_composite(path)
    torch.testing.assert_close(rate, torch.tensor([[0, 12.0], [0.84, math.nan]]), equal_nan=True)
    assert read_time(path) == NOON


def test_fmi_bytes_are_half_decibels(tmp_path):
    path = write_fmi(tmp_path, NOON, np.array([[0, 255], [114, 64]]))
    rate = read_composite(path)
    assert rate[0, 0] == 0
    assert rate[0, 1].isnan()
    assert 223 * float(rate[1, 0]) ** 1.53 == pytest.approx(10**2.5, rel=1e-4)  # 25 dBZ
    assert rate[1, 1] < 0.03  # 0 dBZ


def test_coarse_pixels_are_means_and_missing_if_a_part_is(tmp_path):
    path = write_knmi(tmp_path, NOON, np.array([[0, 100, 65535, 5], [100, 0, 5, 5]]))
    torch.testing.assert_close(read_composite(path, 2), torch.tensor([[6.0, math.nan]]), equal_nan=True)


def test_gaps_in_time_separate_events(tmp_path):
    for i in (0, 1, 3, 4, 5):
        write_knmi(tmp_path, NOON + i * timedelta(minutes=5), np.zeros((4, 4)))
    events = read_events(tmp_path)
    assert [len(e.times) for e in events] == [2, 3]
    assert events[1].dates[0] == NOON + timedelta(minutes=15)


def test_the_test_split_forecasts_only_the_last_third(rain):
    for event in read_events(rain, 4):
        train, test = split_in_time(event, "train"), split_in_time(event, "test", inputs=4)
        assert len(train.times) == 20
        assert test.dates[4] == train.dates[-1] + timedelta(minutes=5)
        assert test.dates[-1] == event.dates[-1]


def test_crops_have_rain_and_no_missing_values(rain):
    clips = FRAME_DATASETS["rain"]().load(rain, "test", 4, 6)
    places = clips.places
    assert set(places[:, 0].tolist()) == {0, 1}
    assert places[:, 3].min() >= 8  # the crop at 0 is out of range
    fixed = clips.fixed(5)
    assert fixed.shape == (5, 10, 1, 64, 64)
    assert torch.isfinite(fixed).all()
    assert ((fixed >= 0.1).float().mean((1, 2, 3, 4)) >= 0.05).all()
    event, start, top, left = places[0].tolist()
    assert torch.equal(
        fixed[0],
        clips.files[event].read(rows=slice(top, top + 64), columns=slice(left, left + 64))[
            start - clips.files[event].start :
        ][:10],
    )
    assert torch.equal(clips.fixed(5), fixed)
    assert torch.equal(clips[0].frames, fixed[0])
    assert clips[0].mask.all()


def test_training_crops_are_random_and_flipped(rain):
    train = FRAME_DATASETS["rain"]().load(rain, "train", 4, 2)
    drawn = train.draw(64)
    known = [clip.frames[:, 0] for clip in train]
    turned = [t for k in known for t in (k, k.flip(-1), k.flip(-2), k.mT)]
    as_is = [any(torch.equal(x[:, 0], k) for k in known) for x in drawn]
    assert 0 < sum(as_is) < 64
    assert sum(any(torch.equal(x[:, 0], k) for k in turned) for x in drawn) > sum(as_is)
    torch.manual_seed(5)
    again = train.draw(3)
    torch.manual_seed(5)
    assert torch.equal(train.draw(3), again)


def test_decode_inverts_encode():
    rate = torch.tensor([0.0, 0.05, 0.5, 7, 99])
    values = FRAME_DATASETS["rain"]().preprocessing(None, 4, 12)
    torch.testing.assert_close(values.decode(values.encode(rate)), rate)
    assert values.encode(torch.tensor(math.nan)) == 0
    assert values == WEIGHTS["convgru_forecaster.rain"].preprocessing


def bad(path):
    path.write_bytes(b"P5\n3 3\n255\n12")
    return path


def cut(write):
    """Returns a function that writes a file and truncates it in the middle."""

    def make(path):
        written = write(path.parent, read_time(path), np.arange(2500).reshape(50, 50) % 200)
        assert written == path
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return make


BAD = {
    "201008261210_fmi.radar.composite.lowest_FIN_SUOMI1.pgm.gz": (cut(write_fmi), "gzip"),
    "RAD_NL25_RAP_5min_201008261210.h5": (cut(write_knmi), "KNMI"),
    "201008261200_fmi.radar.composite.pgm": (bad, r"3×3.*\b2$"),
    "201008261200_fmi.radar.composite.pgm.gz": (bad, "gzip"),
    "201008261205_fmi.radar.composite.pgm": (lambda p: p.write_bytes(b"P2 1 1 1 1"), "P5.*b'P2 1 1 1'"),
    "RAD_NL25_201008261200.h5": (bad, "KNMI"),
    "201008261200.txt": (bad, "unknown format"),
    "RAD_NL25_201008261205.h5": (lambda p: None, "RAD_NL25_201008261205"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_named(name, tmp_path):
    make, message = BAD[name]
    make(tmp_path / name)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_composite(tmp_path / name)
    assert name in str(error.value)


def test_a_composite_that_is_stored_in_another_file_is_not_read(tmp_path):
    write_knmi(tmp_path, datetime(2010, 8, 26), np.ones((50, 50)))
    other = (tmp_path / "RAD_NL25_RAP_5min_201008260000.h5").rename(tmp_path / "other.h5")
    with h5py.File(tmp_path / "RAD_NL25_201008260000.h5", "w") as file:
        file["image1"] = h5py.ExternalLink(str(other), "image1")
    with pytest.raises(ValueError, match=r"RAD_NL25_201008260000.*another file"):
        read_composite(tmp_path / "RAD_NL25_201008260000.h5")


def test_names_without_time_missing_radar_files_and_too_long_sequences_are_errors(tmp_path, rain):
    with pytest.raises(ValueError, match="YYYYMMDDhhmm"):
        read_time(tmp_path / "a.h5")
    with pytest.raises(FileNotFoundError, match=r"RAD_NL25.*download_pysteps_data"):
        FRAME_DATASETS["rain"]().load(tmp_path, "train", 4, 12)
    with pytest.raises(ValueError, match=r" 99 frames.*inputs.*horizon"):
        FRAME_DATASETS["rain"]().load(rain, "train", 4, 95)


def test_composites_of_other_quantities_and_missing_counts(tmp_path):
    path = write_knmi(tmp_path, NOON, np.array([[0, 65534], [7, 65535]]))
    with h5py.File(path, "r+") as file:
        file["image1/calibration"].attrs["calibration_missing_data"] = [65534]
    assert read_composite(path).isnan().sum() == 2
    with h5py.File(path, "r+") as file:
        file["image1"].attrs["image_geo_parameter"] = np.bytes_("REFLECTIVITY_[DBZ]")
    with pytest.raises(FileError, match="REFLECTIVITY"):
        read_composite(path)
