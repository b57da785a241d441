"""Two logical CPUs for every test, and markers whose tests are skipped with a reason."""

import importlib.util
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as pcd_tf does, where it comes first
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import pytest
import tensorflow as tf

from pcd_tf.training import devices

_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what this machine cannot run, and says why."""
    reasons = {}
    if importlib.util.find_spec("torch") is None:
        reasons["torch"] = "PyTorch is not installed: pip install torch"
    if not tf.config.list_physical_devices("GPU"):
        reasons["gpu"] = "TensorFlow sees no GPU"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _fresh_keras():
    """Gives each test the same start: float32 and seed 0."""
    keras.config.set_dtype_policy("float32")
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def two_replicas():
    """The MirroredStrategy over the two logical CPUs; there may be only one in a process."""
    return devices.strategy("mirrored", num_virtual_devices=2)


@pytest.fixture(scope="session")
def shared_images():
    """Folder of real images beside the project, for tests that want photographs."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real images are not at {folder}")
    return folder
