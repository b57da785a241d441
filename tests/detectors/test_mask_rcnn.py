"""Mask R-CNN: the backbone's weights, the records, the way back to pixels, and a training."""

import dataclasses
import json
import time

import keras
import keras_hub
import msgspec
import numpy as np
import pycocotools.mask
import pytest
import tensorflow as tf
from official.vision.dataloaders import tf_example_decoder

from pcd_tf import data, detectors, inits, students
from pcd_tf.detectors import _mask_rcnn_layout as layouts
from pcd_tf.detectors import _mask_rcnn_loop as loop
from pcd_tf.detectors import _mask_rcnn_masks as masks
from pcd_tf.detectors import _mask_rcnn_records as records
from pcd_tf.detectors import mask_rcnn
from pcd_tf.errors import UserError
from tests.data.pictures import Pictures

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)  # not ImageNet's
SIZES = [(40, 60), (64, 48), (50, 50), (30, 64)]


def tiny_resnet(block_type: str = "basic_block"):
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 16, 16],  # KerasHub wants 64 at first
        stackwise_num_blocks=[1, 2, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=block_type,
        image_shape=(None, None, 3),
        name="tiny",
    )


def init_of(backbone) -> inits.Init:
    random = np.random.default_rng(0)
    for weight in backbone.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        else:
            scale = np.prod(weight.shape[:-1]) if weight.name == "kernel" else 10
            weight.assign(random.normal(0.0, scale**-0.5, weight.shape))
    return inits.Init("tiny", "random", backbone, MEAN, STD, "the test's", "")


def rectangles(*, has_masks: bool = True, first: str = "tall", boxes=None) -> data.Annotated:
    """White rectangles on black images of different sizes; the last object is a crowd."""
    images, annotations = [], []
    for index, (height, width) in enumerate(SIZES):
        its_boxes = np.array(boxes or [[4, 6, 14, 26], [20 + index, 10, 44, 22], [0, 0, 9, 9]])
        image = np.zeros((height, width, 3), np.uint8)
        for x1, y1, x2, y2 in its_boxes[:-1].astype(int):
            image[y1:y2, x1:x2] = 255
        rles = masks.paste(np.ones((3, 28, 28)), its_boxes, (height, width))
        images.append(image)
        annotations.append(
            data.Annotation(
                index + 1,
                height,
                width,
                its_boxes.astype(np.float64),
                labels=np.array([0, 1, 1]),
                crowd=np.array([False, False, True]),
                segmentations=[msgspec.Raw(msgspec.json.encode(rle)) for rle in rles]
                if has_masks
                else None,
            )
        )
    return data.Annotated(Pictures("rectangles", images), annotations, class_names=(first, "wide"))


def settings(**changes) -> mask_rcnn.Settings:
    tiny = mask_rcnn.Settings(tf.distribute.OneDeviceStrategy("CPU:0"), 64, 2, num_steps=3)
    return dataclasses.replace(tiny, warmup_steps=1, learning_rate=0.001, **changes)


def relative_error(received, expected) -> float:
    return float(np.abs(received - expected).max() / np.abs(expected).max())


def assert_maps_are_the_same(init: inits.Init) -> None:
    network = mask_rcnn.network(init, layouts.describe(init.backbone), settings())
    images = np.random.default_rng(1).uniform(0, 255, (2, 70, 64, 3)).astype(np.float32)
    ours = keras.Model(init.backbone.input, students.pyramid(init.backbone))
    expected = ours((images - MEAN) / STD, training=False)
    model_garden = (images / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    received = network(model_garden, training=False)
    assert [f"P{level}" for level in received] == ["P2", "P3", "P4", "P5"] == list(expected)
    for level, map_ in received.items():
        assert relative_error(map_, expected[f"P{level}"]) < 1e-4


@pytest.mark.parametrize("block_type", ["basic_block", "bottleneck_block"])
def test_the_backbone_computes_the_students_maps(block_type):
    init = init_of(tiny_resnet(block_type))
    assert_maps_are_the_same(init)
    mask_rcnn.check_maps(init, layouts.describe(init.backbone))


@pytest.mark.slow
def test_the_backbone_computes_the_maps_of_resnet18():
    assert_maps_are_the_same(init_of(students.build("resnet18")))


def test_weights_that_were_not_handed_over_are_noticed():
    init = init_of(tiny_resnet())
    layout = layouts.describe(init.backbone)
    layout.arrays["layer4.0.conv2"][0] = layout.arrays["layer4.0.conv2"][0] * 1.01
    with pytest.raises(UserError, match="Expected the map P5 of tiny in Mask R-CNN as well"):
        mask_rcnn.check_maps(init, layout)


def test_what_is_frozen_has_no_trainable_weight():
    init = init_of(tiny_resnet())
    layout = layouts.describe(init.backbone)
    network = mask_rcnn.network(init, layout, settings(frozen_stages=2))
    names = {weight.name.split("/")[0] for weight in network.trainable_weights}
    assert {name.split(".")[0] for name in names} == {"layer2", "layer3", "layer4"}
    network = mask_rcnn.network(init, layout, settings(batch_norm="frozen"))
    assert {weight.name.split("/")[1] for weight in network.trainable_weights} == {"kernel:0"}
    assert len(network.losses) == len(network.trainable_weights)  # weight decay
    before = [np.array(weight) for weight in network.weights]
    network(tf.ones((2, 64, 64, 3)), training=True)
    for weight, value in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


def test_records_hold_images_boxes_and_masks_to_the_pixel(tmp_path):
    source = rectangles()
    written = records.write(source, tmp_path / "records")
    assert (written.num_images, written.max_objects) == (4, 2)
    decoder = tf_example_decoder.TfExampleDecoder(include_mask=True)
    files = tf.data.Dataset.list_files(written.pattern)
    images = list(data.annotated_images(source, range(4)))
    for index, record in enumerate(tf.data.TFRecordDataset(files)):
        found = {name: value.numpy() for name, value in decoder.decode(record).items()}
        objects, (height, width) = source.objects(index), source.size(index)
        np.testing.assert_array_equal(found["image"], images[index])
        np.testing.assert_array_equal(found["groundtruth_classes"], [1, 2])  # 0: the background
        boxes = found["groundtruth_boxes"] * [height, width, height, width]
        np.testing.assert_allclose(boxes[:, [1, 0, 3, 2]], objects.boxes[:2], atol=1e-4)
        for mask, rle in zip(
            found["groundtruth_instance_masks"], source.masks(index) or (), strict=False
        ):
            again = pycocotools.mask.encode(np.asfortranarray(mask, np.uint8))
            assert again["counts"].decode() == rle["counts"]
        assert not found["groundtruth_is_crowd"].any()
    assert index == 3

    (tmp_path / "records" / "00000000.tfrecord").write_bytes(b"kept")
    assert records.write(source, tmp_path / "records") == written
    records.write(rectangles(first="high"), tmp_path / "records")
    assert (tmp_path / "records" / "00000000.tfrecord").read_bytes() != b"kept"


def test_records_are_made_of_few_images_at_a_time(tmp_path, monkeypatch):
    source, read, ahead = rectangles(), [], []
    source.num_examples = 50

    def images(source, indices):
        for index in indices:
            read.append(index)
            yield np.zeros((48, 64, 3), np.uint8)

    def example(source, index, image):
        time.sleep(0.01)  # by then all are read that are read ahead
        ahead.append(len(read) - index)
        return b"", 1

    monkeypatch.setattr(data, "annotated_images", images)
    monkeypatch.setattr(records, "example", example)
    monkeypatch.setattr(data, "identity", lambda source: {})
    assert records.write(source, tmp_path / "records").num_images == 50
    assert max(ahead) <= records._NUM_THREADS


def test_records_hold_only_what_lies_in_the_image():
    leaving = [[-8, 6, 14, 26], [20, 10, 20.2, 22], [0, 0, 9, 9]]  # the second is thin
    source = rectangles(boxes=leaving)
    (image,) = data.annotated_images(source, [0])
    record, num_objects = records.example(source, 0, image)
    features = tf.train.Example.FromString(record).features.feature
    assert num_objects == 1
    assert len(features["image/object/mask"].bytes_list.value) == 1
    assert list(features["image/object/bbox/xmin"].float_list.value) == [0]


def test_masks_are_pasted_where_their_boxes_are():
    boxes = np.array([[8.0, 4.0, 24.0, 12.0], [-6.0, 20.0, 6.0, 44.0]])
    whole, cut = masks.paste(np.ones((2, 28, 28)), boxes, (32, 40))
    assert pycocotools.mask.area(whole) == 16 * 8
    np.testing.assert_array_equal(pycocotools.mask.toBbox(whole), [8, 4, 16, 8])
    np.testing.assert_array_equal(pycocotools.mask.toBbox(cut), [0, 20, 6, 12])
    left = np.zeros((1, 28, 28))
    left[:, :, :14] = 1
    (half,) = masks.paste(left, boxes[:1], (32, 40))
    np.testing.assert_array_equal(pycocotools.mask.toBbox(half), [8, 4, 8, 8])
    json.dumps(half)


def brightest(batch, image_shape, training):
    """A model that finds the white pixels: one box around them, in the padded image."""
    assert not training
    tf.debugging.assert_equal(image_shape, [[64.0, 64.0]] * 2)
    white = batch[..., 0] > 0.066  # (B, S, S): half of 255, normalised; the padding is 0
    place = tf.range(64.0)
    sides = []
    for axis in (2, 1):  # over x: rows; over y: columns
        there = tf.reduce_any(white, axis)  # (B, S)
        sides.append(tf.reduce_min(tf.where(there, place, 64.0), 1))
        sides.append(tf.reduce_max(tf.where(there, place + 1, 0.0), 1))
    boxes = tf.stack([sides[0], sides[2], sides[1], sides[3]], -1)[
        :, None
    ]  # (B, 1, 4): y1 x1 y2 x2
    return {
        "detection_boxes": tf.pad(boxes, [[0, 0], [0, 1], [0, 0]]),
        "detection_scores": tf.constant([[0.9, 0.0]] * 2),
        "detection_classes": tf.constant([[2, 0]] * 2),
        "detection_masks": tf.ones((2, 2, 28, 28)),
        "num_detections": tf.constant([1, 1]),
    }


def test_detections_come_back_in_the_pixels_of_the_images():
    detector = mask_rcnn._detector(brightest, settings())
    source = rectangles()
    images = list(data.annotated_images(source, range(3)))  # the last batch is not full
    found = [*detector(images[:2]), *detector(images[2:])]
    assert len(found) == 3
    for index, objects in enumerate(found):
        boxes = source.objects(index).boxes[:2]
        around = [*boxes[:, :2].min(0), *boxes[:, 2:].max(0)]
        np.testing.assert_allclose(objects["boxes"], [around], atol=0.6)  # resized: half a pixel
        np.testing.assert_array_equal(objects["classes"], [1])
        assert objects["masks"][0]["size"] == list(source.size(index))
        (truth,) = masks.paste(np.ones((1, 28, 28)), np.array([around]), source.size(index))
        (overlap,) = pycocotools.mask.iou(objects["masks"], [truth], [0])[0]
        assert overlap > 0.85


class Trainer:
    """Counts steps, as Model Garden's trainer does, and fails where it is told to."""

    def __init__(self, loss: float = 1.0) -> None:
        self.global_step = tf.Variable(0, dtype=tf.int64)
        self.checkpoint = tf.train.Checkpoint(step=self.global_step)
        self._loss = loss

    def train(self, num_steps):
        self.global_step.assign_add(tf.cast(num_steps, tf.int64))
        return {"total_loss": tf.constant(self._loss), "training_loss": tf.constant(self._loss)}


def test_the_loop_stops_where_something_is_due_and_resumes(tmp_path):
    logged: list[int] = []
    evaluated: list[int] = []
    often = settings(eval_every_steps=4, log_every_steps=3, checkpoint_every_steps=100)
    often = dataclasses.replace(often, num_steps=10)

    def log(step, values):
        assert values == {"loss": 1.0}
        logged.append(step)
        return step == 6 and len(logged) == 3

    with pytest.raises(KeyboardInterrupt):
        loop.run(Trainer(), often, tmp_path, log=log, evaluate=evaluated.append)
    assert (logged, evaluated, loop.step_reached(tmp_path)) == ([3, 4, 6], [4], 6)
    loop.run(Trainer(), often, tmp_path, log=log, evaluate=evaluated.append)
    assert (logged[3:], evaluated, loop.step_reached(tmp_path)) == ([8, 9, 10], [4, 8, 10], 10)
    loop.run(Trainer(), often, tmp_path, log=log, evaluate=evaluated.append)
    assert (len(logged), evaluated) == (6, [4, 8, 10, 10])
    with pytest.raises(UserError, match="Not finite at step 3"):
        loop.run(Trainer(np.nan), often, tmp_path / "new", log=log, evaluate=evaluated.append)
    assert loop.step_reached(tmp_path / "new") == 0


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, caplog):
    logged: list[int] = []
    often = settings(eval_every_steps=100, log_every_steps=3, checkpoint_every_steps=100)
    often = dataclasses.replace(often, num_steps=9)

    def log(step, values):
        logged.append(step)
        return len(logged) < 3  # a checkpoint each, and the end

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            loop.run(Trainer(), often, tmp_path, log=log, evaluate=lambda step: None)
    checkpoints = tmp_path / "checkpoints"
    assert {file.stem for file in checkpoints.glob("*.index")} == {"ckpt-3", "ckpt-6"}
    (checkpoints / "ckpt-6.index").write_bytes(b"")
    assert loop.step_reached(tmp_path) == 3
    assert f"Removes the damaged checkpoint {checkpoints / 'ckpt-6'}" in caplog.text
    loop.run(Trainer(), often, tmp_path, log=log, evaluate=lambda step: None)
    assert logged == [3, 6, 6, 9]
    assert len(caplog.records) == 1
    for file in checkpoints.glob("*.index"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="a checkpoint that is whole"):
        loop.step_reached(tmp_path)  # before the logs are cut to that step
    with pytest.raises(UserError, match="a checkpoint that is whole"):
        loop.run(Trainer(), often, tmp_path, log=log, evaluate=lambda step: None)


def test_the_numbers_are_the_published_ones_from_512_pixels_on():
    found = records.Records("x", 100, 5)
    made = mask_rcnn.experiment(
        dataclasses.replace(settings(), image_size=1024, num_steps=90), found, num_classes=80
    )
    model = made.task.model
    assert (model.num_classes, model.input_size) == (81, [1024, 1024, 3])
    assert (model.roi_sampler.num_sampled_rois, model.mask_sampler.num_sampled_masks) == (512, 128)
    assert (model.roi_generator.pre_nms_top_k, model.roi_generator.num_proposals) == (2000, 1000)
    assert model.anchor.anchor_size == 8
    optimizer = made.trainer.optimizer_config
    assert optimizer.learning_rate.get().boundaries == [60, 80]
    np.testing.assert_allclose(optimizer.learning_rate.get().values, [1e-3, 1e-4, 1e-5])
    small = mask_rcnn.experiment(settings(schedule="cosine"), found, num_classes=1)
    assert small.task.model.anchor.anchor_size == 1
    assert small.task.model.roi_sampler.num_sampled_rois == 64
    assert small.task.train_data.parser.rpn_batch_size_per_im == 32
    assert small.trainer.optimizer_config.learning_rate.type == "cosine"


@pytest.mark.parametrize(
    ("train_source", "eval_source", "changes", "message"),
    [
        (rectangles(has_masks=False), rectangles(), {}, r"\(boxes alone\). Use --model=retinanet"),
        (
            rectangles(),
            rectangles(first="high"),
            {},
            "Expected the same classes .* tall only in .*; high only in",
        ),
        (rectangles(), rectangles(), {"image_size": 100}, "expected a multiple of 64 .* 100"),
        (rectangles(), rectangles(), {"batch_norm": "local"}, "synchronized, frozen. .* 'local'"),
    ],
)
def test_what_does_not_fit_is_refused(train_source, eval_source, changes, message, tmp_path):
    init = init_of(tiny_resnet())
    with pytest.raises(ValueError, match=message):
        mask_rcnn.train(init, train_source, eval_source, settings(**changes), tmp_path)


def test_a_student_that_is_no_resnet_is_refused(tmp_path):
    images = keras.Input((None, None, 3))
    init = inits.Init("own", "student", keras.Model(images, images), MEAN, STD, "the test's", "")
    with pytest.raises(ValueError, match="expected a ResNet .* Use --model=retinanet"):
        mask_rcnn.train(init, rectangles(), rectangles(), settings(), tmp_path)
    assert detectors.trains_itself("mask_rcnn")


@pytest.mark.slow
def test_a_training_ends_with_scores_that_its_checkpoint_gives_again(tmp_path):
    init, source = init_of(tiny_resnet()), rectangles()
    losses, evaluated = {}, []
    run = {
        "log": lambda step, values: losses.update({step: values}),
        "evaluated": lambda step, scores: evaluated.append(step),
    }
    short = settings(log_every_steps=2)
    scores = mask_rcnn.train(init, source, source, short, tmp_path, **run)
    assert (list(losses), evaluated) == ([2, 3], [3])
    assert np.isfinite([list(values.values()) for values in losses.values()]).all()
    assert 0.5 < losses[2]["mask_loss"] < 0.8  # a logit of 0 at every pixel: log 2
    for part in ("box", "mask"):
        assert 0 <= scores[part]["AP"] <= 1
        assert list(scores[part]["by_class"]) == ["tall", "wide"]
    file = tmp_path / "detections.json"
    found = json.loads(file.read_text())
    assert all({"bbox", "segmentation", "score"} <= result.keys() for result in found)
    assert not (tmp_path / "records").exists()

    file.unlink()
    mask_rcnn.train(init, source, source, short, tmp_path, **run)
    assert (list(losses), evaluated) == ([2, 3], [3, 3])
    again = json.loads(file.read_text())
    assert len(again) == len(found) > 0
    np.testing.assert_allclose([x["score"] for x in again], [x["score"] for x in found], rtol=1e-4)
    np.testing.assert_allclose([x["bbox"] for x in again], [x["bbox"] for x in found], atol=1e-2)
