"""Sources of other images have other digests."""

import pytest
from PIL import Image

from pcd_tf import data
from pcd_tf.configs.distill import Config
from pcd_tf.errors import UserError
from pcd_tf.training.run_directory import RunDirectory


def test_a_run_whose_image_was_renamed_meanwhile_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{name}.png")

    def begin():
        source = data.build("folder", data_dir=str(tmp_path / "images"))
        assert source.num_examples == 3
        config = Config(workdir=str(tmp_path / "run"), teacher_checkpoint="teacher")
        directory = RunDirectory(config.workdir, "distill", config)
        directory.create(**data.identity(source))
        return directory

    begin().metrics.write_text('{"step": 1}\n')
    assert begin().resumed
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "d.png")
    with pytest.raises(UserError, match="images_sha256: .* there, .* now"):
        begin()


def test_annotated_images_have_one_too():
    train, val = (data.build_annotated("synthetic", split=split) for split in ("train", "val"))
    assert data.identity(train)["images"] == "synthetic train"
    assert data.identity(train)["images_sha256"] != data.identity(val)["images_sha256"]
