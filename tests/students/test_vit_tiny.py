"""vit_tiny is DeiT-Ti, and a Vision Transformer learns from teachers of another stride."""

import keras
import numpy as np
import pytest

from pcd_tf import students
from pcd_tf.backbones.vit import VisionTransformer
from pcd_tf.models import Distiller
from tests import toys


def test_it_is_deit_tiny():
    student = students.build("vit_tiny")
    # DeiT-Ti's published 5.7 M with its classifier of 1000 classes.
    assert student.count_params() == 5_717_416 - 193_000
    assert list(students.pyramid(student)) == ["P4"]
    network = keras.Model(student.input, students.pyramid(student))
    assert network(np.zeros((1, 32, 48, 3), "float32"))["P4"].shape == (1, 2, 3, 192)


@pytest.mark.parametrize("map_size", ["student", "teacher"])
def test_a_vision_transformer_is_distilled_from_a_teacher_of_another_stride(map_size):
    backbone = VisionTransformer(16, 1, 2, 16, 32, image_size=48)  # views are smaller: 32
    before = [weight.numpy() for weight in backbone.trainable_weights]
    distiller = Distiller(
        toys.teacher(), backbone, queue_size=toys.QUEUE_SIZE, map_size=map_size, seed=0
    )
    distiller.compile("sgd")
    history = distiller.fit(toys.batches(4), steps_per_epoch=1, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"][0])
    for weight, value in zip(backbone.trainable_weights, before, strict=True):
        if not weight.path.endswith("key/bias"):  # softmax does not see it
            assert np.any(weight != value), weight.path
