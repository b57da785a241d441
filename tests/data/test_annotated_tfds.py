import io

import numpy as np
import pytest
import tensorflow_datasets
from PIL import Image

from pcd_tf import data
from pcd_tf.errors import UserError

NUM_PICTURES = 7
features = tensorflow_datasets.features


class ToyObjects(tensorflow_datasets.core.GeneratorBasedBuilder):
    """Picture i has the colour (10 i, 0, 0), COCO's id 100 + i, and i objects."""

    VERSION = tensorflow_datasets.core.Version("1.0.0")

    def _info(self):
        objects = {
            "area": np.int64,
            "bbox": features.BBoxFeature(),
            "label": features.ClassLabel(names=["cat", "dog"]),
            "is_crowd": np.bool_,
        }
        feature = {
            "image": features.Image(encoding_format="png"),
            "image/id": np.int64,
            "objects": features.Sequence(objects),
        }
        return self.dataset_info_from_configs(features=features.FeaturesDict(feature))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(NUM_PICTURES):
            yield i, {"image": picture(i), "image/id": 100 + i, "objects": self.objects(i)}

    def objects(self, number):
        box = features.BBox(ymin=0.25, xmin=0.1, ymax=1.0, xmax=0.6)
        kept = {"area": 77, "bbox": box, "label": 1, "is_crowd": number == 2}
        thin = {**kept, "bbox": features.BBox(ymin=0.0, xmin=0.5, ymax=1.0, xmax=0.51)}
        return [thin if i == 3 else kept for i in range(number)]


class ToyDifficult(ToyObjects):
    """Named as in VOC: no areas, no ids, and difficult ones."""

    def _info(self):
        objects = {
            "bbox": features.BBoxFeature(),
            "label": features.ClassLabel(names=["cat", "dog"]),
            "is_difficult": np.bool_,
        }
        feature = {"image": features.Image(), "objects": features.Sequence(objects)}
        return self.dataset_info_from_configs(features=features.FeaturesDict(feature))

    def _generate_examples(self):
        box = features.BBox(ymin=0.25, xmin=0.1, ymax=1.0, xmax=0.6)
        written = [{"bbox": box, "label": 0, "is_difficult": difficult} for difficult in (0, 1)]
        yield 0, {"image": picture(0), "objects": written}


class ToyBare(ToyObjects):
    """No objects."""

    def _info(self):
        feature = features.FeaturesDict({"image": features.Image()})
        return self.dataset_info_from_configs(features=feature)

    def _generate_examples(self):
        yield 0, {"image": picture(0)}


class ToyTurned(ToyDifficult):
    """A picture that lies on its side in the file."""

    def _generate_examples(self):
        box = features.BBox(ymin=0.25, xmin=0.1, ymax=1.0, xmax=0.6)
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (20, 10)).save(file, "JPEG", exif=exif)
        file.seek(0)
        objects = [{"bbox": box, "label": 0, "is_difficult": False}]
        yield 0, {"image": file, "objects": objects}


def picture(i):
    file = io.BytesIO()
    Image.new("RGB", (20, 16), (10 * i, 0, 0)).save(file, "PNG")
    file.seek(0)
    return file


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    directory = tmp_path_factory.mktemp("tfds")
    config = tensorflow_datasets.download.DownloadConfig(num_shards=3)
    ToyObjects(data_dir=directory).download_and_prepare(download_config=config)
    return str(directory)


def build(data_dir, name="toy_objects", split="train"):
    return data.build_annotated("tfds", data_dir=data_dir, tfds_name=name, split=split)


def test_every_record_is_within_reach_by_its_number(data_dir):
    source = build(data_dir)
    assert source.class_names == ("cat", "dog")
    assert source.num_examples == NUM_PICTURES
    seen = set()
    for index in reversed(range(NUM_PICTURES)):
        number = source.objects(index).image_id - 100
        seen.add(number)
        (image,) = data.annotated_images(source, [index])
        objects = source.objects(index)
        assert image[0, 0].tolist() == [10 * number, 0, 0]
        assert source.size(index) == image.shape[:2] == (16, 20)
        boxes, kept = objects.inside()
        num_kept = number - (number > 3)
        np.testing.assert_allclose(boxes[kept], np.tile([[2, 4, 12, 16]], (num_kept, 1)), rtol=1e-6)
        assert objects.labels[kept].tolist() == [1] * num_kept
        assert objects.areas[kept].tolist() == [77] * num_kept
        assert objects.crowd[kept].tolist() == [number == 2] * num_kept
        assert source.image_name(index).startswith("toy_objects-train.tfrecord-0000")
    assert seen == set(range(NUM_PICTURES))
    assert source.counts["num_objects"] == sum(range(NUM_PICTURES)) - 3
    assert source.counts["num_dropped"] == 3
    assert len(source.coco()["annotations"]) == sum(range(NUM_PICTURES))  # scored is all


def test_a_batch_has_the_objects_of_its_images(data_dir):
    stream = data.annotated_batches(
        build(data_dir), data.NO_AUGMENTATION, image_size=20, global_batch_size=7, seed=0
    )
    (batch,) = stream.take(1).as_numpy_iterator()
    numbers = batch["images"][:, 0, 0, 0] // 10
    assert sorted(numbers) == list(range(NUM_PICTURES))
    for number, boxes, labels in zip(numbers, batch["boxes"], batch["labels"], strict=True):
        count = 0 if number == 2 else number - (number > 3)  # crowds; one is thin
        assert labels.tolist() == [1] * count + [-1] * (100 - count)
        np.testing.assert_allclose(boxes[:count], np.tile([[2, 4, 12, 16]], (count, 1)), rtol=1e-6)


def test_part_of_a_split_is_numbered_from_0(data_dir):
    whole, part = build(data_dir), build(data_dir, split="train[2:5]")
    assert part.num_examples == 3
    assert [part.objects(i).image_id for i in range(3)] == [
        whole.objects(i).image_id for i in range(2, 5)
    ]
    assert [part.image_name(i) for i in range(3)] == [whole.image_name(i) for i in range(2, 5)]


def test_names_of_voc(data_dir):
    source = build(data_dir, "toy_difficult")
    assert source.objects(0).crowd.tolist() == [False, True]
    assert source.objects(0).areas is None
    assert source.objects(0).image_id == 1


def test_boxes_of_a_turned_picture_are_on_the_upright_one(tmp_path):
    ToyTurned(data_dir=tmp_path).download_and_prepare()
    source = build(str(tmp_path), "toy_turned")
    assert source.size(0) == next(data.annotated_images(source, [0])).shape[:2] == (20, 10)
    np.testing.assert_allclose(source.objects(0).boxes, [[1, 5, 6, 20]], rtol=1e-6)


def test_what_cannot_be_used_is_named(data_dir, tmp_path):
    with pytest.raises(ValueError, match="a feature `objects` with `bbox` and `label`"):
        build(data_dir, "toy_bare")
    with pytest.raises(ValueError, match="Expected tfds_name, such as"):
        data.build_annotated("tfds", data_dir=data_dir, split="train")
    with pytest.raises(ValueError, match="Expected a split of toy_objects/1.0.0: train"):
        build(data_dir, split="trian")
    builder = ToyObjects(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    with pytest.raises(ValueError, match="as tfrecord. Received: array_record. Prepare it with"):
        build(str(tmp_path))


def test_a_file_that_was_cut_off_is_named(tmp_path):
    ToyObjects(data_dir=tmp_path).download_and_prepare()
    (file,) = (tmp_path / "toy_objects" / "1.0.0").glob("*.tfrecord*")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"whole records in {file}. Received: a file that is mi"):
        build(str(tmp_path))
