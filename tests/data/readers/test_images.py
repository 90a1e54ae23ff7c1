"""Tests of readers of videos and images."""

import numpy as np
import pytest
from PIL import Image

from convrnn_zoo.data import open_frames
from tests.helpers.data.own_data import write_video

pytest.importorskip("av", reason="the extra video")


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mjpeg"), (".mkv", "mpeg4"), (".mp4", "mpeg4")])
def test_a_video_is_read_back_frame_by_frame(suffix, codec, tmp_path):
    y, x = np.mgrid[:32, :48]
    frames = np.stack([(100 * (1 + np.sin((x + 4 * t) / 9) * np.cos(y / 7))).astype(np.uint8) for t in range(7)])
    path = tmp_path / f"a{suffix}"
    write_video(path, frames, codec)
    video = open_frames(path)
    assert video.unit == ""  # brightness
    assert video.times is None
    read = video.read()[:, 0]
    assert read.shape == (7, 32, 48)
    assert np.abs(read.numpy() - frames / 255).mean() < 0.03
    assert read.amin() >= 0
    assert read.amax() <= 1


def test_a_video_that_is_cut_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, np.zeros((4, 32, 32), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.mp4"):
        open_frames(path)


def test_a_photograph_with_several_views_is_one_frame(tmp_path):
    for i in range(3):
        view = Image.fromarray(np.full((16, 16, 3), 60 * i, "uint8"))
        view.save(tmp_path / f"{i}.jpg", format="MPO", save_all=True, append_images=[view])
    assert len(open_frames(tmp_path)) == 3
