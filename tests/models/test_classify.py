"""`classify` on arrays of every dtype, unit and layout."""

import json

import numpy as np
import pytest
import torch

import convrnn_zoo
from convrnn_zoo.data import VideoFolder
from convrnn_zoo.exporting.export import make_metadata
from convrnn_zoo.exporting.forms import make_spec
from convrnn_zoo.pretrained.metadata import WeightsMetadata


def test_frames_of_bytes_and_of_another_scale_are_not_classified_in_silence():
    frames = np.random.default_rng(0).integers(0, 255, (3, 3, 32, 32)).astype("uint8")
    model = convrnn_zoo.video_model("test_resnet", "convgru", hidden_channels=4, num_classes=2)
    [expected] = model.classify([torch.from_numpy(frames) / 255])
    for same in (frames, torch.from_numpy(frames), frames[::-1].copy()[::-1]):
        [prediction] = model.classify([same])
        assert prediction.probability == pytest.approx(expected.probability, rel=1e-5)
    with pytest.warns(UserWarning, match="recording 1"):
        model.classify([frames, frames.astype("float32")])


def test_frames_of_bytes_stay_bytes_where_the_model_was_trained_on_such():
    cfg = {"mean": (120.0,), "std": (60.0,)}
    model = convrnn_zoo.create_model("convgru2d_1layer", in_chans=1, num_classes=2, pretrained_cfg_overlay=cfg)
    frames = np.random.default_rng(0).integers(0, 255, (3, 1, 8, 8)).astype("uint8")
    assert model.classify([frames]) == model.classify([frames.astype("float64")])


@pytest.mark.parametrize("recording", [np.zeros((5, 12), complex), np.full((5, 12), "a"), [[1.0], [1.0, 2.0]]])
def test_recordings_that_are_no_real_numbers_are_rejected_by_name(recording):
    model = convrnn_zoo.create_model("convlstm1d_bi_1layer.japanese_vowels", pretrained=True)
    with pytest.raises((TypeError, ValueError), match="second"):
        model.classify([torch.zeros(5, 12), recording], names=["first", "second"])


def test_one_recording_is_passed_in_a_list():
    model = convrnn_zoo.create_model("audio_convrnn.fsdd", pretrained=True)
    with pytest.raises(ValueError, match=r"list"):
        model.classify(torch.zeros(5, 40, 1))
    with pytest.raises(ValueError, match=r"\[wave\]"):
        model.classify_sound(torch.zeros(4000), 8000)
    stack = model.classify(torch.zeros(3, 5, 40))
    assert stack == model.classify([torch.zeros(5, 40)] * 3)


def test_names_must_match_the_recordings():
    model = convrnn_zoo.create_model("audio_convrnn.fsdd", pretrained=True)
    with pytest.raises(ValueError, match=r"names.* 2 in total, got 1"):
        model.classify([torch.zeros(5, 40)] * 2, names=["first"])
    with pytest.raises(ValueError, match=r"names.* 1 in total, got 2"):
        model.classify_sound([torch.zeros(4000)], 8000, names=["first", "second"])


def test_duplicate_labels_are_rejected_instead_of_losing_a_probability():
    model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=2, num_classes=3)
    model.pretrained_cfg["label_names"] = ["left", "right", "left"]
    with pytest.raises(ValueError, match="left"):
        model.classify([torch.zeros(5, 2)])


def test_whole_numbers_are_standardised_as_floats():
    cfg = {"mean": (120.0,), "std": (60.5,)}
    model = convrnn_zoo.create_model("convgru2d_1layer", in_chans=1, pretrained_cfg_overlay=cfg)
    x = torch.full((1, 2, 1, 4, 4), 100)
    for dtype in (torch.uint8, torch.int64):
        torch.testing.assert_close(model.normalize(x.to(dtype)), model.normalize(x.float()))


@pytest.fixture(scope="module")
def clip_run(tmp_path_factory):
    """A model that was trained on every second frame of clips, resized to 32 pixels, and the folder of the clips."""
    folder = tmp_path_factory.mktemp("clips")
    for label, brightness in (("dark", 0), ("bright", 128)):
        (folder / label).mkdir()
        for i in range(4):
            clip = np.random.default_rng(i).integers(0, 64, (7, 3, 40, 50)) + brightness
            np.save(folder / label / f"{i}.npy", clip.astype("uint8"))
    data = VideoFolder(name="clips", size=32, frame_stride=2, max_frames=3)
    model = convrnn_zoo.video_model("test_resnet", "convgru", hidden_channels=4, num_classes=2).eval()
    size = {"input_shape": ("T", 3, 32, 32), "num_params": sum(p.numel() for p in model.parameters())}
    texts = dict.fromkeys(("sha256", "task", "dataset", "dataset_url", "recipe", "license", "description"), "")
    model.metadata = WeightsMetadata(
        name="video_convrnn.clips",
        model_args={},
        in_chans=3,
        num_classes=2,
        label_names=(),
        metrics=(),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        clips=data.sampling,
        **size,
        **texts,
    )
    return model, data, folder


@pytest.mark.parametrize("file", ["dark/0.npy", "bright/3.npy"])
def test_frames_of_clips_are_selected_and_resized_as_in_training(clip_run, file):
    model, data, folder = clip_run
    stored = np.load(folder / file)
    with torch.no_grad():
        logits = model(model.normalize(data.read(folder / file)[None]))
    assert data.read(folder / file).shape == (3, 3, 32, 32)
    [prediction] = model.classify([stored])
    assert list(prediction.probabilities.values()) == pytest.approx(logits.softmax(1)[0].tolist(), abs=1e-6)
    assert model.classify(iter([stored])) == [prediction]


def test_metadata_of_clips_are_stored_and_exported(clip_run):
    model, data, _ = clip_run
    assert WeightsMetadata.from_json(model.metadata.to_json()) == model.metadata
    assert WeightsMetadata.from_json(model.metadata.to_json()).clips == data.sampling
    values = make_metadata(model, make_spec(model, "step"), "", "step")
    assert json.loads(values["clips"]) == {"size": 32, "frame_stride": 2, "max_frames": 3}


@pytest.mark.parametrize("tag", ["x/../../../evil", "..", "a b", "/tmp/x", "a" * 200])
def test_tags_of_other_peoples_configs_are_names(tag, tmp_path):
    model = convrnn_zoo.create_model("convgru1d_1layer", in_chans=1, hidden_channels=2, num_classes=2)
    convrnn_zoo.save_pretrained(model, tmp_path / "gru")
    file = tmp_path / "gru" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["pretrained_cfg"]["tag"] = tag
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match="tag"):
        convrnn_zoo.from_pretrained(tmp_path / "gru")
