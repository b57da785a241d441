"""Which devices a run uses, and in which precision."""

import functools
import logging
from pathlib import Path
from typing import TypeAlias

import keras
import tensorflow as tf

from pcd_tf.errors import UserError

Strategy: TypeAlias = tf.distribute.Strategy

logger = logging.getLogger(__name__)


def strategy(name: str, *, num_virtual_devices: int = 1) -> Strategy:
    """Makes the tf.distribute strategy of a run.

    Args:
        name: "auto" (mirrored when there are several devices), "one_device" or "mirrored".
        num_virtual_devices: cut the CPU into this many, to try replicas without GPUs; 1 for none.

    Raises:
        UserError: when the CPU cannot be cut any more because TensorFlow runs already.
    """
    gpus = [device.name.removeprefix("/physical_device:") for device in _physical("GPU")]
    if not gpus and Path("/dev/nvidia0").exists():
        logger.warning(
            "TensorFlow sees none of this machine's GPUs, so the CPU is used. The CUDA libraries "
            'may be missing: pip install "tensorflow[and-cuda]==2.20.*"'
        )
    devices = gpus or _cpus(num_virtual_devices)
    if num_virtual_devices > 1 and gpus:
        devices = _cpus(num_virtual_devices)
    if name == "one_device" or (name == "auto" and len(devices) == 1):
        return _one_device(devices[0])
    return _mirrored(tuple(devices))


def set_precision(name: str) -> None:
    """Sets what layers compute in: float32, mixed_bfloat16 or mixed_float16."""
    if name == "mixed_float16" and not _physical("GPU"):
        logger.warning("precision=mixed_float16 is slow without a GPU; float32 is faster here.")
    keras.config.set_dtype_policy(name)


def check_batch(strategy: Strategy, global_batch_size: int, *, least: int = 2) -> None:
    """Raises a UserError when the global batch cannot be divided over the replicas evenly.

    Args:
        strategy: of the run.
        global_batch_size: in images.
        least: how many images a replica needs; two for a contrast.
    """
    count = strategy.num_replicas_in_sync
    images = "one image" if least == 1 else "two images"
    if global_batch_size % count or global_batch_size // count < least:
        raise UserError(
            f"global_batch_size: expected a multiple of the {count} replicas, {images} each at "
            f"least. Received: {global_batch_size}."
        )


def count() -> int:
    """How many GPUs there are; 0 without."""
    return len(_physical("GPU"))


def compiles(strategy: Strategy) -> bool:
    """Whether the step is compiled by XLA: on one GPU.

    Not under several replicas, where TensorFlow fails to compile the collectives; not on a CPU,
    where it was slower (5.4 s against 1.9 s a step: ResNet-18 to ResNet-18, 64 images of 96 px, 2
    cores).
    """
    return isinstance(strategy, tf.distribute.OneDeviceStrategy) and bool(_physical("GPU"))


def describe(strategy: Strategy) -> str:
    """Names the devices of a strategy, for people."""
    devices = strategy.extended.worker_devices
    kind = devices[0].split(":")[-2]
    count = strategy.num_replicas_in_sync
    return f"1 {kind}" if count == 1 else f"{count} {kind} replicas, mirrored"


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> Strategy:
    """The one MirroredStrategy of these devices in this process.

    A second one would number its collectives from the start again, and TensorFlow, which remembers
    the first one's shapes by number, refuses them ("Shape mismatch in the collective instance").
    """
    return tf.distribute.MirroredStrategy(devices)


def _one_device(device: str) -> Strategy:
    return tf.distribute.OneDeviceStrategy(device)


def _physical(kind: str) -> list[tf.config.PhysicalDevice]:
    return tf.config.list_physical_devices(kind)


def _cpus(count: int) -> list[str]:
    """Names of `count` logical CPUs, made when there are too few."""
    if count > 1 and len(_configured()) < count:
        cut = [tf.config.LogicalDeviceConfiguration()] * count
        try:
            tf.config.set_logical_device_configuration(_physical("CPU")[0], cut)
        except RuntimeError as error:
            raise UserError(
                "Expected a process in which TensorFlow has not run yet, to cut the CPU into "
                f"{count} devices. Received: one in which it has. Start a new process."
            ) from error
    return [f"CPU:{i}" for i in range(count)]


def _configured() -> list[tf.config.LogicalDeviceConfiguration]:
    return tf.config.get_logical_device_configuration(_physical("CPU")[0]) or []
