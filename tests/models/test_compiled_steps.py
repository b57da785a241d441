"""What one GPU would refuse of the steps, shown on a CPU.

XLA refuses a variable of another device than the step's. On a GPU that is each int32 variable,
which TensorFlow keeps on the host: of these there is none. Others show on the second of two CPUs.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from pcd_tf import detectors, objectives, schedules, segmenters
from pcd_tf.configs.finetune import Config
from pcd_tf.models import Distiller, MoCoV3
from pcd_tf.models._pairings import PAIRINGS
from pcd_tf.optimizers import LARS
from pcd_tf.training import loop, optimizer
from tests import gpu_kernels, toys
from tests.detectors import small

BATCH = toys.batch(4)
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# XLA fuses, and so rounds elsewhere: of what is logged, and of how far the weights have moved. Half
# precision shows only what is badly wrong: a move that is missing is off by 1.
OF_LOGS = {"float32": 2e-5, "mixed_bfloat16": 2e-2, "mixed_float16": 2e-2}
OF_MOVES = {"float32": 1e-4, "mixed_bfloat16": 0.6, "mixed_float16": 0.6}


def distiller(**options):
    # A student of another stride, so that maps are resized as well.
    return Distiller(toys.teacher(), toys.backbone(16, stride=12), queue_size=40, seed=1, **options)


def moco_v3():
    encoders = toys.encoder(), toys.encoder()
    momentum = functools.partial(_momentum, total=10)
    return MoCoV3(*encoders, mean=toys.MEAN, std=toys.STD, momentum=momentum, hidden_units=16)


def _momentum(step, total):
    return 1.0 - 0.01 * keras.ops.cast(step, "float32") / total


STEPS: dict[str, Callable[[], Any]] = {
    f"distill-{objective}-{pairing}": functools.partial(
        distiller, objective=objective, pairing=pairing
    )
    for objective in objectives.names()
    for pairing in PAIRINGS
}
STEPS["pretrain"] = moco_v3

# Each objective, pairing and precision once; the rest of their products is slow.
QUICK = [
    ("distill-pixel_contrastive-same", "float32"),
    ("distill-image_contrastive-aligned", "float32"),
    ("distill-feature_mse-index", "float32"),
    ("distill-pixel_contrastive-aligned", "mixed_bfloat16"),
    ("pretrain", "float32"),
    ("pretrain", "mixed_float16"),
]
ALL = [
    pytest.param(name, precision, marks=[] if (name, precision) in QUICK else pytest.mark.slow)
    for name in STEPS
    for precision in PRECISIONS
]


@functools.cache
def made(name, precision, device, *, jit_compile):
    """A model on a device, and the loop's own step of it; the same weights on each device."""
    keras.config.set_dtype_policy(precision)
    keras.utils.set_random_seed(3)
    strategy = tf.distribute.OneDeviceStrategy(device)
    with strategy.scope():
        model = STEPS[name]()
        lars = LARS(schedules.warmup_cosine(0.5, 1, 10))
        if precision == "mixed_float16":  # Keras's scale lets the first steps overflow: none moves
            lars = keras.optimizers.LossScaleOptimizer(lars, initial_scale=1.0)
        model.compile(lars, jit_compile=jit_compile)
        model.optimizer.build(model.trainable_variables)
    return model, loop._step_function(model, strategy)


def tensors():
    return {name: tf.constant(value) for name, value in BATCH.items()}


@pytest.mark.parametrize(("name", "precision"), ALL)
def test_a_compiled_step_runs_apart_from_the_host_and_equals_the_plain_one(name, precision):
    compiled, compiled_step = made(name, precision, "CPU:1", jit_compile=True)
    plain, plain_step = made(name, precision, "CPU:0", jit_compile=False)
    start = moved(plain)
    for _ in range(2):  # the rate of the first is 0
        with tf.device("CPU:1"):  # where there is a GPU, TensorFlow takes it unasked
            logs = compiled_step(tensors())
        expected = plain_step(tensors())
    for key, value in expected.items():
        tolerance = OF_LOGS[precision]
        assert float(logs[key]) == pytest.approx(float(value), rel=tolerance, abs=tolerance), key
    assert all("CPU:1" in weight.value.device for weight in compiled.weights)
    for before, plainly, by_xla in zip(start, moved(plain), moved(compiled), strict=True):
        distance = np.linalg.norm(by_xla - plainly) / np.linalg.norm(plainly - before)
        assert distance < OF_MOVES[precision]


def moved(model):
    """What a step changes, as two vectors: what is trained, and statistics and negatives."""
    return flat(model.trainable_variables), flat(model.non_trainable_variables)


def flat(weights):
    return np.concatenate([np.array(weight, "float64").ravel() for weight in weights])


@pytest.mark.parametrize(("name", "precision"), ALL)
def test_a_gpu_has_a_kernel_for_all_that_a_step_does(name, precision):
    _, step = made(name, precision, "CPU:0", jit_compile=False)
    check(step.get_concrete_function(tensors()))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("detectors", "retinanet"),
        pytest.param("detectors", "keras_hub_retinanet", marks=pytest.mark.slow),
        ("segmenters", "fcn"),
        pytest.param("segmenters", "deeplab_v3_plus", marks=pytest.mark.slow),
    ],
)
def test_a_gpu_has_a_kernel_for_all_that_a_finetuning_step_does(kind, name):
    if kind == "detectors":
        model, batch = detectors.build(name, small.backbone(), **small.OPTIONS), small.batch()
    else:
        model = segmenters.build(name, hub_backbone(), **small.OPTIONS)
        maps = np.zeros((2, small.SIZE, small.SIZE), np.uint8)
        batch = {"images": maps[..., None].repeat(3, axis=-1), "maps": maps}
    config = Config(workdir="run", init="random", model=name, num_steps=10)
    model.compile(optimizer.for_finetuning(config, num_examples=100), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    step = loop._step_function(model, tf.distribute.get_strategy())
    check(step.get_concrete_function({name: tf.constant(x) for name, x in batch.items()}))


def hub_backbone():
    return keras_hub.models.ResNetBackbone(
        [64], [7], [64, 16, 16, 32], [1, 1, 1, 1], [1, 2, 2, 2], "basic_block"
    )


def check(function):
    """Fails for what a GPU would refuse of a step."""
    assert gpu_kernels.int32_variables(function) == []
    if not gpu_kernels.lists_gpus():
        pytest.skip("this TensorFlow was built without CUDA: it lists no GPU kernels")
    assert gpu_kernels.without_kernel(function) == set()


def test_what_a_gpu_lacks_is_found():
    on_host = tf.Variable(0, dtype=tf.int32)

    @tf.function
    def step(x):
        return tf.strings.as_string(on_host), tf.sparse.segment_sum(x, [0], [0])

    function = step.get_concrete_function(tf.TensorSpec((2, 2)))
    assert gpu_kernels.int32_variables(function) == [on_host.name]
    assert ("AsString", "int32") in gpu_kernels.without_kernel(function)
