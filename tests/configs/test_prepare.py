import pytest

from pcd_tf.configs.prepare import Config
from pcd_tf.errors import UserError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"contents": "annotated"},
            "contents: annotated come from coco_json, synthetic, tfds, voc",
        ),
        ({"splits": "train,val[:10]"}, "splits: expected names of letters, digits and _"),
        ({"splits": "train,train"}, "splits: expected each name once"),
        ({"annotations": "x.json"}, "annotations: dataset=folder has no use for it"),
        ({"dataset": "tfrecord"}, "dataset: expected one of coco_json, folder, png_maps, "),
        ({"max_side": 5000}, "max_side: expected a whole number, at least 32, at most 4096"),
        ({"show": "x.jpg"}, "show: expected a name that ends in .png"),
        ({"workdir": "/etc/hosts"}, "workdir: expected a directory, old or new"),
        (
            {"dataset": "coco_json", "splits": "train,val", "annotations": "x.json"},
            "annotations: expected 2, one for each split",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    settings = {"data_dir": str(tmp_path), "workdir": str(tmp_path / "new"), **changes}
    with pytest.raises(UserError, match="cannot work") as error:
        Config(**settings).validate()
    assert message in str(error.value)


def test_a_dataset_says_what_is_kept():
    assert Config(dataset="voc").kept == "annotated"
    assert Config(dataset="voc", contents="segmented").kept == "segmented"
    assert Config(dataset="png_maps").kept == "segmented"
    assert Config(dataset="tfds").kept == "images"
