import numpy as np
import pytest

from pcd_tf.data.synthetic import NUM_EXAMPLES, SyntheticSource


@pytest.fixture(scope="module")
def examples() -> list[dict[str, np.ndarray]]:
    source = SyntheticSource(seed=0)
    return [source.example(i) for i in range(150)]


def test_an_example_is_a_function_of_seed_split_and_index():
    first, second = SyntheticSource(3).example(5), SyntheticSource(3).example(5)
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key])
    for other in (
        SyntheticSource(4).example(5),
        SyntheticSource(3).example(6),
        SyntheticSource(3, split="val").example(5),
    ):
        assert np.mean(other["image"] != first["image"]) > 0.5


def test_types_and_shapes():
    source = SyntheticSource(1, num_examples=7, image_size=96)
    assert source.num_examples == 7
    assert SyntheticSource().num_examples == NUM_EXAMPLES
    assert len(source.class_names) == 12
    example = source.example(6)
    n = len(example["labels"])
    described = {key: (value.dtype.name, value.shape) for key, value in example.items()}
    assert described == {
        "image": ("uint8", (96, 96, 3)),
        "boxes": ("float32", (n, 4)),
        "labels": ("int64", (n,)),
        "instance_masks": ("bool", (n, 96, 96)),
        "semantic_map": ("uint8", (96, 96)),
    }
    np.testing.assert_array_equal(np.asarray(source.open(6, 6)), example["image"])


def test_boxes_masks_and_maps_agree(examples: list[dict[str, np.ndarray]]):
    for example in examples:
        masks = example["instance_masks"]
        assert masks.sum(axis=0).max() <= 1  # visible pixels belong to one object
        painted = np.zeros((160, 160), np.int64)
        for label, mask, box in zip(example["labels"], masks, example["boxes"], strict=True):
            painted[mask] = label + 1
            rows, columns = np.nonzero(mask)
            corners = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            assert box.tolist() == corners
        np.testing.assert_array_equal(example["semantic_map"], painted)


def test_every_object_can_be_seen_and_every_class_comes(examples: list[dict[str, np.ndarray]]):
    areas = np.concatenate([e["instance_masks"].sum(axis=(1, 2)) for e in examples])
    assert areas.min() >= 40
    assert areas.max() > 8 * np.median(areas) / 4  # scale varies
    counts = np.bincount(np.concatenate([e["labels"] for e in examples]), minlength=12)
    assert counts.min() > 0.4 * counts.mean()
    num_objects = {len(example["labels"]) for example in examples}
    assert num_objects >= {2, 3, 4, 5}
    background = np.mean([np.mean(example["semantic_map"] == 0) for example in examples])
    assert 0.5 < background < 0.85


def test_some_objects_hide_others(examples: list[dict[str, np.ndarray]]):
    """The box of a hidden object has pixels of the object in front."""
    overlaps = sum(
        np.any(example["instance_masks"][j, int(y0) : int(y1), int(x0) : int(x1)])
        for example in examples
        for i, (y0, x0, y1, x1) in enumerate(example["boxes"])
        for j in range(i + 1, len(example["boxes"]))
    )
    assert overlaps > 0.2 * len(examples)


def test_the_mean_colour_does_not_tell_the_class(examples: list[dict[str, np.ndarray]]):
    colours, labels = [], []
    for example in examples:
        for label, mask in zip(example["labels"], example["instance_masks"], strict=True):
            colours.append(example["image"][mask].mean(axis=0))
            labels.append(label)
    features, classes = np.array(colours), np.array(labels)
    assert len(classes) > 400
    distance = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    nearest = classes[np.argmin(distance, axis=1)]
    assert np.mean(nearest == classes) < 0.16  # chance is 1/12


def test_what_does_not_exist_is_an_error():
    with pytest.raises(ValueError, match=r"train, val, test\. Received: 'valid'"):
        SyntheticSource(split="valid")
    with pytest.raises(IndexError, match=r"Expected an index from 0 to 4\. Received: 5"):
        SyntheticSource(num_examples=5).example(5)
