"""The check: what it compares, at which sizes, and what it refuses."""

import dataclasses

import numpy as np
import pytest

from export import _verify
from export._verify import Bound


def changed(student, name, change):
    def answer(images):
        outputs = {key: np.asarray(value) for key, value in student.outputs(images).items()}
        return {**outputs, name: change(outputs[name])}

    return answer


def test_the_largest_error_at_any_entrance(student, order):
    entrances = {
        "same": student.outputs,
        "off": changed(student, "P4", lambda x: x + 3e-5 * np.max(np.abs(x))),
    }
    report = _verify.check(order, entrances, Bound())
    assert report.error == pytest.approx(3e-5, rel=0.1)
    assert report.cosine == pytest.approx(1.0, abs=1e-6)
    assert report.sizes == {name: [(40, 40), (25, 44)] for name in ("same", "off")}
    assert "3.0e-05 at most" in str(report)
    for name in entrances:
        assert f"by {name} at 40 x 40 and 25 x 44" in str(report)


def test_one_value_of_one_output_is_enough(student, order):
    def spoil(x):
        x[-1, -1, -1, -1] += 2e-4 * np.max(np.abs(x))
        return x

    for bound, refused in ((Bound(), True), (Bound(tolerance=1e-3), False)):
        entrances = {"door": changed(student, "feature_map", lambda x: spoil(x.copy()))}
        if refused:
            with pytest.raises(ValueError, match=r"feature_map of door, at 40 x 40 pixels, off by"):
                _verify.check(order, entrances, bound)
        else:
            assert _verify.check(order, entrances, bound).error == pytest.approx(2e-4, rel=0.1)


def test_not_a_number_is_refused(student, order):
    entrances = {"door": changed(student, "P2", lambda x: x * np.nan)}
    with pytest.raises(ValueError, match="P2 of door.*off by nan"):
        _verify.check(order, entrances, Bound(tolerance=10.0))


def test_another_shape_is_refused(student, order):
    entrances = {"door": changed(student, "P2", lambda x: x[:, :1])}
    with pytest.raises(ValueError, match="P2 of door.*off by inf"):
        _verify.check(order, entrances, Bound(tolerance=10.0))


def test_outputs_must_be_all_there(student, order):
    def answer(images):
        return {"P2": student.outputs(images)["P2"]}

    with pytest.raises(ValueError, match=r"P2, P3, P4, P5, embedding, .* of door.* Received: P2\."):
        _verify.check(order, {"door": answer}, Bound())


def test_an_embedding_of_another_direction_is_refused(student, order):
    entrances = {"door": changed(student, "embedding", lambda x: x + np.flip(x, axis=-1))}
    with pytest.raises(ValueError, match=r"cosine of 0\.98 or more.*Received: 0\.\d+ of door"):
        _verify.check(order, entrances, Bound(tolerance=10.0, cosine=0.98, mean_error=10.0))


def test_an_error_that_is_small_everywhere_is_refused(student, order):
    """No value is far off, and all embeddings keep their directions."""
    entrances = {"door": changed(student, "P3", lambda x: x * 1.04)}
    with pytest.raises(ValueError, match=r"mean error of 0\.03.*P3 of door, at 40 x 40.*4\.0e-02"):
        _verify.check(order, entrances, Bound(tolerance=10.0, mean_error=0.03))
    report = _verify.check(order, entrances, Bound(tolerance=10.0, mean_error=0.05))
    assert report.mean_error == pytest.approx(0.04, rel=1e-3)


def test_a_student_that_gives_no_numbers_is_blamed_itself(student, order):
    class Diverged:
        image_size = 40

        def outputs(self, images):
            outputs = dict(student.outputs(images))
            return {**outputs, "P4": outputs["P4"] * np.inf}

    diverged = dataclasses.replace(order, student=Diverged())
    with pytest.raises(ValueError, match="Keras student that gives finite.*P4 at 40 x 40 pixels"):
        _verify.check(diverged, {"door": Diverged().outputs}, Bound())


def test_an_entrance_may_pass_at_a_size(student, order):
    def square_only(images):
        return student.outputs(images) if images.shape[1] == images.shape[2] else None

    report = _verify.check(order, {"door": square_only, "gate": student.outputs}, Bound())
    assert report.error == 0.0
    assert report.sizes == {"door": [(40, 40)], "gate": [(40, 40), (25, 44)]}


def test_an_entrance_that_was_never_compared_is_refused(student, order):
    entrances = {"gate": student.outputs, "door": lambda images: None}
    with pytest.raises(ValueError, match=r"every entrance.*Received: door\. Nothing"):
        _verify.check(order, entrances, Bound())


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_a_fixed_number_of_images_at_a_time(student, order, batch_size):
    seen = []

    def answer(images):
        seen.append(images.shape)
        return student.outputs(images)

    fixed = dataclasses.replace(order, batch_size=batch_size, height=40, width=48)
    report = _verify.check(fixed, {"door": answer}, Bound())
    assert report.sizes == {"door": [(40, 48)]}
    assert set(seen) == {(batch_size, 40, 48, 3)}
    assert len(seen) == -(-4 // batch_size)
    assert report.error < 1e-6


def test_an_oblong_size_is_one_that_the_student_takes(order):
    def outputs(images):
        if images.shape[1] % 32 or images.shape[2] % 32:
            raise ValueError("multiples of 32")
        return {"embedding": np.ones((len(images), 2))}

    class Stub:
        image_size = 96

        def outputs(self, images):
            return outputs(images)

    picky = dataclasses.replace(order, student=Stub())
    report = _verify.check(picky, {"door": outputs}, Bound())
    assert report.sizes == {"door": [(96, 96), (32, 64)]}
