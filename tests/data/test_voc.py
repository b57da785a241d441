import os

import numpy as np
import pytest
from PIL import Image

from pcd_tf import data
from pcd_tf.errors import UserError

OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def add(root, name, objects, split="train", size=True):
    """Writes one image of 40 x 30 pixels, its annotation, and its name into the list."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30)).save(root / "JPEGImages" / f"{name}.jpg")
    written = "".join(OBJECT.format(*box, name=n, difficult=int(d)) for n, box, d in objects)
    sides = "<size><width>40</width><height>30</height></size>" if size else ""
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{sides}{written}</annotation>")
    with (root / "ImageSets" / "Main" / f"{split}.txt").open("a") as file:
        file.write(f"{name}\n")


def build(root, split="train"):
    return data.build_annotated("voc", data_dir=str(root), split=split)


def test_boxes_count_from_1_and_include_their_last_pixel(tmp_path):
    objects = [("dog", (1, 1, 40, 30), False), ("cat", (5, 6, 10, 20), True)]
    add(tmp_path, "a", [*objects, ("cat", (5, 6, 5, 20), False)])
    add(tmp_path, "b", [], size=False)
    source = build(tmp_path)
    assert source.class_names[:2] == ("aeroplane", "bicycle")
    assert len(source.class_names) == 20
    found = source.objects(0)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 40, 30], [4, 5, 10, 20], [5, 6, 5, 6]])
    assert found.inside()[1].tolist() == [True, True, False]  # the last has no area
    assert [source.class_names[i] for i in found.labels] == ["dog", "cat", "cat"]
    assert found.crowd.tolist() == [False, True, False]  # difficult
    assert source.size(1) == (30, 40)  # by the image itself
    assert [image.shape for image in data.annotated_images(source, [1])] == [(30, 40, 3)]
    assert source.image_name(1) == "b.jpg"
    assert (source.counts["num_dropped"], source.counts["num_empty_images"]) == (1, 1)


def test_other_classes_are_the_same_for_every_split(tmp_path):
    add(tmp_path, "a", [("zebra", (1, 1, 9, 9), False)])
    add(tmp_path, "b", [("apple", (1, 1, 9, 9), False)], split="test")
    assert build(tmp_path).class_names == build(tmp_path, "test").class_names == ("apple", "zebra")
    assert build(tmp_path).objects(0).labels.tolist() == [1]


def test_what_is_missing_or_wrong_is_named(tmp_path):
    add(tmp_path, "a", [("dog", (1, 1, 9, 9), False)])
    with pytest.raises(UserError, match=r"Main/val.txt. Received: no such .* are train."):
        build(tmp_path, "val")
    (tmp_path / "ImageSets/Main/val.txt").write_text("\n")
    with pytest.raises(ValueError, match="Expected images in .*val.txt. Received: none."):
        build(tmp_path, "val")
    (tmp_path / "ImageSets/Main/val.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="of each of 2 images in .*JPEGImages.* none of 1: b"):
        build(tmp_path, "val")
    Image.new("RGB", (40, 30)).save(tmp_path / "JPEGImages" / "b.png")
    with pytest.raises(UserError, match=r"\(.xml\).* in .*Annotations.* none of 1: b"):
        build(tmp_path, "val")
    add(tmp_path, "c", [("dog", (1, "nan", 9, 9), False)])
    with pytest.raises(ValueError, match=r"object 'dog' of .*c.xml.*four finite.*: 1, nan, 9, 9"):
        build(tmp_path)
    (tmp_path / "Annotations" / "c.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match="Expected XML in .*c.xml"):
        build(tmp_path)
    with pytest.raises(ValueError, match="Expected data_dir"):
        data.build_annotated("voc", split="train")


def test_what_other_systems_leave_behind_is_passed_over(tmp_path):
    add(tmp_path, "a", [("dog", (1, 1, 9, 9), False)])
    for file in ("Annotations/._a.xml", "JPEGImages/._a.jpg"):
        (tmp_path / file).write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    (tmp_path / "ImageSets/Main/train.txt").write_bytes(b"\xef\xbb\xbfa\r\n\r\n")
    assert build(tmp_path).image_name(0) == "a.jpg"


BOMB = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(9))
ODD_XML = [
    (b"<?xml version='1.0' encoding='gb2312'?><annotation/>", "Expected XML in .*a.xml.*encoding"),
    (b"<?xml version='1.0' encoding='hex'?><annotation/>", "Expected XML in .*a.xml.*encoding"),
    (f"<!DOCTYPE a [<!ENTITY e0 'x'>{BOMB}]><a>&e9;</a>".encode(), "XML in .*amplification"),
    (b"<annotation><object><bndbox/></object></annotation>", "name of each object in .*a.xml"),
    (b"<annotation><object><name>\xc2\x9b</name></object></annotation>", "a name of each object"),
    (b"<annotation><object><name>dog</name></object></annotation>", "'dog' of .*: None, None"),
]


@pytest.mark.parametrize(("written", "message"), ODD_XML)
def test_an_odd_annotation_is_named(tmp_path, written, message):
    add(tmp_path, "a", [])
    (tmp_path / "Annotations/a.xml").write_bytes(written)
    with pytest.raises(UserError, match=message):
        build(tmp_path)


def test_what_is_no_file_no_text_or_no_image_is_named(tmp_path):
    add(tmp_path, "a", [("dog", (1, 1, 9, 9), False)], size=False)
    (tmp_path / "JPEGImages/a.jpg").write_bytes(b"no image")  # its size is asked for
    with pytest.raises(UserError, match="Cannot decode .*a.jpg"):
        build(tmp_path)
    os.mkfifo(tmp_path / "Annotations/b.xml")
    with pytest.raises(UserError, match="Expected a file that can be read. Received: .*b.xml"):
        build(tmp_path)
    (tmp_path / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(UserError, match="text in UTF-8, .*train.txt. Received: other bytes at 0"):
        build(tmp_path)


def test_blood_cells(shared_images):
    sources = [build(shared_images / "bccd", split) for split in ("train", "val", "test")]
    assert [source.num_examples for source in sources] == [205, 87, 72]
    assert {source.class_names for source in sources} == {("Platelets", "RBC", "WBC")}
    assert sum(source.counts["num_dropped"] for source in sources) == 2
    assert sum(source.counts["num_objects"] for source in sources) == 4886
    (image,) = data.annotated_images(sources[0], [0])
    assert image.shape == (*sources[0].size(0), 3)
