"""Which devices and which precision a run gets."""

import keras
import pytest
import tensorflow as tf

from pcd_tf.training import devices


@pytest.fixture
def seen_gpus(monkeypatch):
    """Makes the module believe in GPUs, and MirroredStrategy in naming them."""
    made: list[str | tuple[str, ...]] = []

    def see(count):
        names = [f"/physical_device:GPU:{i}" for i in range(count)]
        kinds = {"GPU": [tf.config.PhysicalDevice(name, "GPU") for name in names]}
        real = devices._physical
        monkeypatch.setattr(devices, "_physical", lambda kind: kinds.get(kind) or real(kind))
        monkeypatch.setattr(devices, "_mirrored", made.append)
        monkeypatch.setattr(devices, "_one_device", made.append)
        return made

    return see


@pytest.mark.parametrize("name", ["auto", "one_device"])
def test_one_cpu_is_one_device(name):
    strategy = devices.strategy(name)
    assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
    assert strategy.num_replicas_in_sync == 1
    assert devices.describe(strategy) == "1 CPU"


@pytest.mark.parametrize("name", ["auto", "mirrored"])
def test_several_virtual_devices_are_mirrored(name):
    strategy = devices.strategy(name, num_virtual_devices=2)
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == 2
    assert devices.describe(strategy) == "2 CPU replicas, mirrored"
    assert not devices.compiles(strategy)


def test_mirrored_on_one_cpu_is_one_replica():
    strategy = devices.strategy("mirrored")
    assert isinstance(strategy, tf.distribute.MirroredStrategy)
    assert strategy.num_replicas_in_sync == 1


def test_a_strategy_can_be_asked_for_twice():
    """Two jobs in one process: collectives of two shapes under one number were an error."""
    for shape in ((2,), (3,)):
        strategy = devices.strategy("mirrored", num_virtual_devices=2)

        def replica(shape=shape):
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.ones(shape))

        total = tf.function(strategy.run)(replica)
        assert strategy.experimental_local_results(total)[1].numpy().tolist() == [2.0] * shape[0]


@pytest.mark.parametrize(
    ("name", "num_gpus", "num_virtual", "expected"),
    [
        ("auto", 1, 1, "GPU:0"),
        ("auto", 2, 1, ("GPU:0", "GPU:1")),
        ("mirrored", 1, 1, ("GPU:0",)),
        ("one_device", 2, 1, "GPU:0"),
        ("auto", 1, 2, ("CPU:0", "CPU:1")),
    ],
)
def test_gpus_are_used_where_there_are_any(seen_gpus, name, num_gpus, num_virtual, expected):
    made = seen_gpus(num_gpus)
    devices.strategy(name, num_virtual_devices=num_virtual)
    assert made == [expected]


def test_xla_compiles_on_one_gpu_alone(seen_gpus):
    one = devices.strategy("one_device")
    assert not devices.compiles(one)
    mirrored = tf.distribute.MirroredStrategy(["CPU:0"])
    seen_gpus(1)
    assert devices.compiles(one)
    assert not devices.compiles(mirrored)


def test_the_cpu_cannot_be_cut_once_tensorflow_runs():
    tf.zeros(()).numpy()
    with pytest.raises(ValueError, match="cut the CPU into 5 devices. Received: .*new process"):
        devices.strategy("mirrored", num_virtual_devices=5)


@pytest.mark.parametrize("global_batch_size", [3, 2, 5])
def test_a_batch_that_cannot_be_divided_is_refused(global_batch_size, two_replicas):
    message = f"multiple of the 2 replicas, two images each at least. Received: {global_batch_size}"
    with pytest.raises(ValueError, match=message):
        devices.check_batch(two_replicas, global_batch_size)


def test_a_batch_that_can_be_divided_passes(two_replicas):
    devices.check_batch(two_replicas, 4)
    devices.check_batch(devices.strategy("one_device"), 3)


def test_precision_is_the_policy_and_float16_on_a_cpu_is_warned_of(caplog):
    devices.set_precision("mixed_bfloat16")
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert not caplog.records
    devices.set_precision("mixed_float16")
    assert keras.config.dtype_policy().name == "mixed_float16"
    if not tf.config.list_physical_devices("GPU"):
        assert "slow without a GPU" in caplog.text
