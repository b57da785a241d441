"""A checkpoint that is not all of a teacher, or more than it, is refused by names of the file."""

import numpy as np
import pytest

from pcd_tf import teachers
from pcd_tf.weights import arrays
from tests import goldens, small_teachers

START = "state_dict.module.momentum_encoder."


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small_teachers.patch(monkeypatch)


@pytest.fixture
def state():
    return goldens.load("moco_v3_resnet50")[0]


def convert(state, tmp_path, name="moco_v3_resnet50"):
    np.savez(tmp_path / "file.npz", **state)
    return teachers.convert(name, tmp_path / "file.npz")


def without(state, part):
    return {name: array for name, array in state.items() if part not in name}


def only(state, start, prefix=""):
    """The arrays under a name, as a file of their own."""
    return {
        prefix + name.removeprefix(start): array
        for name, array in state.items()
        if name.startswith(start)
    }


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda state: without(state, "momentum_encoder.layer1.1.bn2.running_mean"),
            r"missing: momentum_encoder\.layer1\.1\.bn2\.running_mean\. Nothing was converted\.$",
        ),
        (
            lambda state: without(state, "momentum_encoder.fc.0.weight"),
            r"missing: momentum_encoder\.fc\.0\.weight\. Nothing",
        ),
        (
            lambda state: state | {f"{START}layer1.2.conv1.weight": np.zeros((64, 256, 1, 1))},
            r"left over: momentum_encoder\.layer1\.2\.conv1\.weight\. Nothing",
        ),
        (
            lambda state: state | {f"{START}conv1.weight": np.ones((64, 3, 7, 7), "int8")},
            r"no floating point, so perhaps quantised: momentum_encoder\.conv1\.weight\. Nothing",
        ),
        (
            lambda state: state | {f"{START}fc.6.weight": np.zeros((4, 4))},
            r"left over: momentum_encoder\.fc\.6\.weight\. Nothing",
        ),
        (
            lambda state: state | {"state_dict.module.queue": np.zeros((4, 4))},
            r"left over: queue\. Nothing",
        ),
        (
            lambda state: state | {"ema.conv1.weight": np.zeros((4, 4))},
            r"left over: ema\.conv1\.weight \(beside state_dict\)\. Nothing",
        ),
        (
            lambda state: state | {f"{START}fc.0.weight": np.zeros((32, 256))},
            r"momentum_encoder\.fc\.0\.weight \(expected \(64, 256\), received \(32, 256\)\)",
        ),
        (
            lambda state: state | {f"{START}conv1.weight": np.zeros((7, 7, 3, 64))},
            r"encoder\.conv1\.weight \(expected \(64, 3, 7, 7\), received \(7, 7, 3, 64\)\)",
        ),
        (
            lambda state: state | {f"{START}bn1.weight": np.full(64, np.nan)},
            r"not finite: momentum_encoder\.bn1\.weight",
        ),
    ],
)
def test_what_does_not_fit_is_listed(state, tmp_path, spoil, message):
    with pytest.raises(
        ValueError, match=rf"Expected the 68 arrays of moco_v3_resnet50\. .*{message}"
    ):
        convert(spoil(state), tmp_path)


def test_all_that_is_wrong_is_said_at_once(state, tmp_path):
    spoiled = without(state, "momentum_encoder.bn1.bias")
    spoiled[f"{START}extra"] = np.zeros(3)
    spoiled[f"{START}bn1.weight"] = np.zeros(3)
    with pytest.raises(
        ValueError, match=r"missing: .*; left over: .*; of another shape: "
    ) as caught:
        convert(spoiled, tmp_path)
    assert "\n" not in str(caught.value)


def test_nothing_is_set_when_something_is_wrong(state):
    from pcd_tf.teachers import _layout, moco_v3_resnet50

    teacher = moco_v3_resnet50.build()
    before = arrays.values(teacher.named_weights)
    flat = {name.replace("module.", ""): array for name, array in state.items()}
    del flat["state_dict.momentum_encoder.fc.3.weight"]
    with pytest.raises(ValueError, match="missing"):
        _layout.fill(teacher, flat, moco_v3_resnet50.LAYOUT, "a file")
    for name, array in arrays.values(teacher.named_weights).items():
        np.testing.assert_array_equal(array, before[name])


def test_the_momentum_encoder_is_taken_and_not_the_other(state, tmp_path):
    teacher = convert(state, tmp_path)
    kernel = np.transpose(teacher.backbone.get_layer("conv1_conv").kernel, (3, 2, 0, 1))
    np.testing.assert_array_equal(kernel, state[f"{START}conv1.weight"])
    assert not np.allclose(kernel, state["state_dict.module.base_encoder.conv1.weight"])


@pytest.mark.parametrize("wrapper", ["state_dict.model.", "model.", "state_dict."])
@pytest.mark.parametrize("name", ["moco_v3_resnet50", "barlow_twins_resnet50"])
def test_a_file_of_lightning_is_read(name, wrapper, tmp_path):
    state, _ = goldens.load(name)
    container = {"moco_v3_resnet50": "state_dict.", "barlow_twins_resnet50": "model."}[name]
    expected = convert(state, tmp_path, name)
    wrapped = only(state, container, wrapper)
    assert wrapped
    assert convert(wrapped, tmp_path, name).fingerprint() == expected.fingerprint()


def test_a_number_beside_the_network_does_no_harm(state, tmp_path):
    assert "best_acc1 (1)" in convert(state | {"best_acc1": np.array(70.5)}, tmp_path).origin


@pytest.mark.parametrize(
    ("name", "start", "prefix", "advice"),
    [
        ("barlow_twins_resnet50", "model.module.backbone.", "", "full checkpoint.*not that of the"),
        ("dino_resnet50", "teacher.backbone.", "", "full checkpoint of DINO's code"),
        ("swav_resnet50", "module.layer", "module.layer", "such as swav_800ep_pretrain"),
        ("moco_v3_resnet50", f"{START}layer", f"{START}layer", "not that of its linear probe"),
    ],
)
def test_a_backbone_alone_gets_the_file_to_fetch(name, start, prefix, advice, tmp_path):
    backbone = only(goldens.load(name)[0], start, prefix)
    assert backbone
    with pytest.raises(
        ValueError, match=rf"^It has no projection head: the file to fetch is .*{advice}"
    ):
        convert(backbone, tmp_path, name)


def test_a_supervised_network_gets_the_file_to_fetch(tmp_path):
    supervised = only(goldens.load("swav_resnet50")[0], "module.")
    supervised = without(without(supervised, "projection_head"), "prototypes")
    supervised |= {"fc.weight": np.zeros((1000, 256)), "fc.bias": np.zeros(1000)}
    for name in ("swav_resnet50", "moco_v3_resnet50", "byol_resnet50"):
        with pytest.raises(ValueError, match="^It has no projection head: the file to fetch is"):
            convert(supervised, tmp_path, name)


FILES = {
    "moco_v3_resnet50": "moco_v3_resnet18 or moco_v3_resnet50",
    "swav_resnet50": "swav_resnet50",
    "barlow_twins_resnet50": "barlow_twins_resnet50",
    "byol_resnet50": "byol_resnet50",
    "dino_resnet50": "dino_resnet50",
    "vit_moco_v3_32x32": "moco_v3_vit_b16 or moco_v3_vit_s16",
    "vit_dino_32x32": "dino_vit_b16 or dino_vit_s16",
}


@pytest.mark.parametrize("golden", FILES)
def test_a_file_of_another_teacher_is_recognised(golden, tmp_path):
    state, _ = goldens.load(golden)
    wrong = "byol_resnet50" if golden != "byol_resnet50" else "swav_resnet50"
    with pytest.raises(
        ValueError,
        match=rf"^It looks like a file of {FILES[golden]}: convert it as that teacher\. Exp",
    ):
        convert(state, tmp_path, wrong)
