"""Segmenters: they learn, count over all replicas alike, and leave as they are."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pcd_tf import data, segmenters

SIZE = 64
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 60.0, 60.0)


def backbone():
    keras.utils.set_random_seed(1)
    return keras_hub.models.ResNetBackbone(
        [64], [7], [64, 16, 16, 32], [1, 1, 1, 1], [1, 2, 2, 2], "basic_block"
    )


def model(name, **changes):
    keras.utils.set_random_seed(1)
    options = {"class_names": ["rest", "bright", "dark"], "mean": MEAN, "std": STD, **changes}
    return segmenters.build(name, options.pop("backbone", None) or backbone(), **options)


def batch(count, seed=0):
    """Noise of three brightnesses in blocks of 16 pixels, which the classes tell; 255 in a row."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, (count, 4, 4)).repeat(16, axis=1).repeat(16, axis=2)
    images = np.array([120, 200, 40])[classes][..., None] + random.normal(0, 9, (*classes.shape, 3))
    classes[:, 0] = 255
    return {
        "images": tf.constant(images.clip(0, 255).astype(np.uint8)),
        "maps": tf.constant(classes.astype(np.uint8)),
    }


@pytest.mark.parametrize("name", segmenters.names())
def test_it_learns_what_brightness_tells(name):
    network = model(name)
    network.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9))
    step = tf.function(network.train_step)
    images = batch(4)
    first = float(step(images)["loss"])
    for _ in range(30):
        logs = step(images)
    assert float(logs["loss"]) < 0.5 * first
    assert float(logs["pixel_accuracy"]) > 0.8


def test_two_replicas_make_the_step_of_one(two_replicas):
    """Also where one replica has far fewer pixels with a class."""
    examples = batch(4)
    maps = examples["maps"].numpy()
    maps[2:, :60] = 255
    examples["maps"] = tf.constant(maps)
    single = model("fcn")
    with two_replicas.scope():
        double = model("fcn")
    single.compile(optimizer=keras.optimizers.SGD(1.0))
    with two_replicas.scope():
        double.compile(optimizer=keras.optimizers.SGD(1.0))
        double.optimizer.build(double.trainable_variables)
    alone = single.train_step(examples)
    dataset = two_replicas.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(examples).batch(4)
    )
    shared = next(iter(dataset))
    both = tf.function(lambda x: two_replicas.run(double.train_step, args=(x,)))(shared)
    losses = two_replicas.experimental_local_results(both["loss"])
    assert [float(x) for x in losses] == pytest.approx([float(alone["loss"])] * 2, rel=1e-5)
    for a, b in zip(single.trainable_variables, double.trainable_variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-4, err_msg=a.path)


def test_ignored_pixels_change_nothing_and_none_at_all_is_finite():
    network = model("fcn")
    network.compile(optimizer=keras.optimizers.SGD(0.0))
    examples = batch(2)
    examples["maps"] = tf.fill((2, SIZE, SIZE), tf.constant(255, tf.uint8))
    assert float(network.train_step(examples)["loss"]) == 0.0


def test_mixed_precision_computes_the_loss_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = model("deeplab_v3_plus")
    assert network.network.output.dtype == "bfloat16"
    assert network(batch(1)["images"]).dtype == tf.float32


def test_a_backbone_without_the_levels_is_refused():
    images = keras.Input((None, None, 3))
    stride_16 = keras.Model(images, keras.layers.Conv2D(8, 16, strides=16)(images), name="patches")
    with pytest.raises(ValueError, match="level 'P5' for fcn. Received: patches with P4"):
        model("fcn", backbone=stride_16)


def test_no_class_is_refused():
    with pytest.raises(ValueError, match="one class at least"):
        model("fcn", class_names=[])


# Of one pixel, narrow, small, and large; heights and widths that are no whole part of the size.
SIZES = [(1, 1), (3, 200), (37, 23), (64, 64), (65, 47), (101, 150), (400, 333)]


def test_the_saved_model_gives_the_classes_that_the_evaluation_gives(tmp_path):
    network = model("fcn")
    segmenters.export(network, tmp_path / "out", image_size=SIZE)
    segment = tf.saved_model.load(str(tmp_path / "out")).signatures["serving_default"]
    random = np.random.default_rng(0)
    for folder in ("train", "train_sem"):
        (tmp_path / folder).mkdir()
    for number, size in enumerate(SIZES):
        pixels = random.integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "train" / f"{number}.png")
        Image.new("L", size[::-1]).save(tmp_path / "train_sem" / f"{number}.png")
    source = data.build_segmented(
        "png_maps", data_dir=str(tmp_path), split="train", class_names=network.class_names
    )
    found = list(segmenters.classes(network, source, image_size=SIZE, batch_size=3))
    assert [classes.shape for classes in found] == SIZES
    assert len(np.unique(found[-1])) > 1
    for index, classes in enumerate(found):
        exported = segment(images=tf.constant(source.image(index)[None]))["classes"][0]
        np.testing.assert_array_equal(classes, exported, err_msg=str(SIZES[index]))
