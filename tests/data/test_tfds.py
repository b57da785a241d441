import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets
from PIL import Image

from pcd_tf.data import BYOL, two_views
from pcd_tf.data.tfds import TfdsSource
from pcd_tf.errors import UserError

NUM_PICTURES = 20
DAMAGED = 7  # the one that cannot be decoded in "toy_damaged"


class ToyPictures(tensorflow_datasets.core.GeneratorBasedBuilder):
    """Picture i has the colour (10 i, 0, 0)."""

    VERSION = tensorflow_datasets.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tensorflow_datasets.features.Image(shape=(None, None, 3)),
            "label": tensorflow_datasets.features.ClassLabel(names=["cat", "dog"]),
        }
        return self.dataset_info_from_configs(
            features=tensorflow_datasets.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(NUM_PICTURES)}

    def _generate_examples(self, number):
        for i in range(number):
            yield i, {"image": self.picture(i), "label": i % 2}

    def picture(self, i):
        file = io.BytesIO()
        Image.new("RGB", (24 + i, 24), (10 * i, 0, 0)).save(file, "PNG")
        file.seek(0)
        return file


class ToyDamaged(ToyPictures):
    """The same with a file that is no picture."""

    def picture(self, i):
        return io.BytesIO(b"no picture") if i == DAMAGED else super().picture(i)


class ToyAllDamaged(ToyPictures):
    """Nothing but files that are no pictures."""

    def picture(self, i):
        return io.BytesIO(b"no picture")


class ToyPixels(ToyPictures):
    """The same as pixels, not as encoded images."""

    def _info(self):
        features = {"image": tensorflow_datasets.features.Tensor(shape=(24, 24, 3), dtype=np.uint8)}
        return self.dataset_info_from_configs(
            features=tensorflow_datasets.features.FeaturesDict(features)
        )

    def _generate_examples(self, number):
        for i in range(number):
            yield i, {"image": np.full((24, 24, 3), (10 * i, 0, 0), np.uint8)}


class ToySounds(ToyPictures):
    """No feature `image`."""

    def _info(self):
        features = {"sound": tensorflow_datasets.features.Scalar(dtype=np.int64)}
        return self.dataset_info_from_configs(
            features=tensorflow_datasets.features.FeaturesDict(features)
        )

    def _generate_examples(self, number):
        for i in range(number):
            yield i, {"sound": i}


class ToyFarAway(ToyPictures):
    """Cannot be prepared, as without a network."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    """Three datasets in three files each; the others are prepared when asked for."""
    directory = tmp_path_factory.mktemp("tfds")
    config = tensorflow_datasets.download.DownloadConfig(num_shards=3)
    for builder in (ToyPictures, ToyDamaged, ToyPixels):
        builder(data_dir=directory).download_and_prepare(download_config=config)
    return str(directory)


def indices(source: TfdsSource, seed: int, epoch: int) -> list[int]:
    records = source.shuffled(seed, epoch * source.num_examples).take(source.num_examples)
    return [int(record["index"]) for record in records]


def payloads(source: TfdsSource, indices: Sequence[int]) -> list[Any]:
    return [record["payload"] for record in source.chosen(indices).as_numpy_iterator()]


def red_of(source: TfdsSource, index: int, payload: Any) -> int:
    return int(np.asarray(source.open(index, payload))[0, 0, 0])


@pytest.mark.parametrize("name", ["toy_pictures", "toy_pixels"])
def test_a_record_s_number_is_its_place_in_the_unshuffled_split(data_dir: str, name: str):
    source = TfdsSource(name, data_dir=data_dir)
    red = {
        int(record["index"]): red_of(source, int(record["index"]), record["payload"].numpy())
        for record in source.shuffled(0).take(NUM_PICTURES)
    }
    assert sorted(red) == list(range(NUM_PICTURES)) == list(range(source.num_examples))
    plain = [red_of(source, i, payload) for i, payload in enumerate(payloads(source, range(20)))]
    assert [red[i] for i in range(20)] == plain
    assert sorted(red.values()) == [10 * i for i in range(20)]


def test_the_order_follows_seed_and_epoch(data_dir: str):
    source = TfdsSource("toy_pictures", data_dir=data_dir)
    order = indices(source, 3, 1)
    assert sorted(order) == list(range(NUM_PICTURES))
    assert indices(TfdsSource("toy_pictures", data_dir=data_dir), 3, 1) == order
    assert indices(source, 3, 2) != order
    assert indices(source, 4, 1) != order
    tf.random.set_seed(5)
    assert indices(source, 3, 1) == order
    orders = [indices(source, 0, epoch) for epoch in range(6)]
    assert len({tuple(o) for o in orders}) == 6


def test_part_of_a_split_is_numbered_from_0(data_dir: str):
    whole = TfdsSource("toy_pictures", data_dir=data_dir)
    part = TfdsSource("toy_pictures", data_dir=data_dir, split="train[25%:80%]")
    assert part.num_examples == 11
    assert sorted(indices(part, 0, 0)) == list(range(11))
    expected = payloads(whole, range(5, 16))
    assert payloads(part, range(11)) == expected
    assert payloads(part, [0, 3]) == [expected[0], expected[3]]


@pytest.mark.parametrize("name", ["toy_pictures", "toy_pixels"])
@pytest.mark.parametrize("start", [0, 9])
def test_records_in_order_have_labels_and_names(data_dir: str, name: str, start: int):
    source = TfdsSource(name, data_dir=data_dir, split="train[25%:80%]")
    records = list(source.chosen(range(start, 11)).as_numpy_iterator())
    assert [record["index"] for record in records] == list(range(start, 11))
    labels = [record["label"] for record in records]
    if name == "toy_pictures":  # picture 10 i of class i % 2, written in an order of TFDS's own
        reds = [red_of(source, r["index"], r["payload"]) for r in records]
        assert labels == [red // 10 % 2 for red in reds]
    else:
        assert labels == [-1] * len(records)


def test_an_image_is_named_by_its_place_in_its_file(data_dir: str):
    whole = TfdsSource("toy_pictures", data_dir=data_dir)
    names = [whole.image_name(i) for i in range(NUM_PICTURES)]
    assert names[0] == "toy_pictures-train.tfrecord-00000-of-00003__0"
    assert names[-1].startswith("toy_pictures-train.tfrecord-00002-of-00003__")
    assert len(set(names)) == NUM_PICTURES
    part = TfdsSource("toy_pictures", data_dir=data_dir, split="train[25%:80%]")
    assert [part.image_name(i) for i in range(11)] == names[5:16]


def test_classes_are_those_of_the_label(data_dir: str):
    assert TfdsSource("toy_pictures", data_dir=data_dir).class_names == ("cat", "dog")
    assert TfdsSource("toy_pixels", data_dir=data_dir).class_names == ()


@pytest.mark.parametrize("name", ["toy_pictures", "toy_damaged", "toy_pixels"])
def test_a_resumed_stream_goes_on_where_it_was(data_dir: str, name: str):
    def batches(start_step, count):
        source = TfdsSource(name, data_dir=data_dir)
        stream = two_views(
            source, BYOL, image_size=8, global_batch_size=6, seed=1, start_step=start_step
        )
        return list(stream.take(count).as_numpy_iterator())

    whole = batches(0, 8)  # 48 images: two epochs and a part of the third
    for start_step in (2, 3, 5, 7):  # the 4th and the 7th batch lie across the end of an epoch
        for resumed, expected in zip(batches(start_step, 2), whole[start_step:], strict=False):
            for key, value in expected.items():
                np.testing.assert_array_equal(resumed[key], value, err_msg=key)


def test_another_image_stands_in_for_one_that_cannot_be_decoded(data_dir: str, caplog):
    source = TfdsSource("toy_damaged", data_dir=data_dir)
    stream = two_views(source, BYOL, image_size=8, global_batch_size=5, seed=0)
    batches = list(stream.take(8).as_numpy_iterator())  # two epochs
    used = np.concatenate([batch["index"] for batch in batches])
    assert source.num_skipped == 1
    damaged = next(iter(set(range(NUM_PICTURES)) - set(used.tolist())))
    assert len(set(used.tolist())) == NUM_PICTURES - 1
    named = [r.getMessage() for r in caplog.records if "Skipped image" in r.getMessage()]
    assert len(named) == 1
    assert f"image {damaged} of tfds toy_damaged" in named[0]


def test_nothing_but_damaged_images_is_an_error_at_once(data_dir: str):
    source = TfdsSource("toy_all_damaged", data_dir=data_dir)  # prepared here, on demand
    with pytest.raises(ValueError, match=r"Expected an image that can be decoded among the 20"):
        two_views(source, BYOL, image_size=8, global_batch_size=5, seed=0)


@pytest.mark.parametrize(
    ("name", "split", "error", "message"),
    [
        ("toy_sounds", "train", ValueError, "Expected a feature `image` with uint8 pixels"),
        ("toy_picture", "train", ValueError, "Expected the name of a TensorFlow dataset"),
        ("toy_pictures:9.9.9", "train", ValueError, "at version 9.9.9, only: 1.0.0"),
        ("toy_pictures", "trian", ValueError, "Expected a split of toy_pictures/1.0.0: train"),
        ("toy_pictures", "train[:0]", ValueError, r"Expected images in split 'train\[:0\]'"),
        ("toy_far_away", "train", UserError, "it could not be prepared here: ConnectionError"),
    ],
)
def test_what_cannot_be_used_is_named(data_dir: str, name, split, error, message):
    with pytest.raises(error, match=message):
        TfdsSource(name, data_dir=data_dir, split=split)


def test_examples_to_show_are_the_first_of_a_stream(data_dir: str):
    source = TfdsSource("toy_pictures", data_dir=data_dir)
    assert source.examples_to_show(3) == [0, 1, 2]
