"""A `.keras` file is read, or says in one line what would help; nothing in it is run."""

import keras
import pytest
from keras import layers

from pcd_tf.errors import UserError
from pcd_tf.weights import keras_file


class Unknown(layers.Layer):
    def call(self, inputs):
        return inputs


def save(layer, file):
    images = keras.Input((None, None, 3))
    keras.Model(images, layer(layers.Conv2D(2, 3)(images))).save(file)


@pytest.fixture
def file(tmp_path):
    save(layers.ReLU(), tmp_path / "toy.keras")
    return tmp_path / "toy.keras"


def refused(file, message):
    with pytest.raises(UserError, match=message) as caught:
        keras_file.read(file)
    assert "\n" not in str(caught.value)
    return caught.value


def test_what_keras_saved_is_read(file):
    assert keras_file.read(str(file)).output_shape == (None, None, None, 2)


@pytest.mark.filterwarnings("ignore")
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path):
    ran = tmp_path / "ran"
    code = layers.Lambda(lambda x, path=str(ran): [open(path, "w"), x][1])  # noqa
    save(code, tmp_path / "toy.keras")
    ran.unlink()
    refused(tmp_path / "toy.keras", "holds code that loading it would run, such as a Lambda")
    assert not ran.exists()


@pytest.mark.filterwarnings("ignore")
def test_a_class_that_is_not_known_is_named(tmp_path):
    save(Unknown(), tmp_path / "toy.keras")
    error = refused(tmp_path / "toy.keras", "the class 'Unknown': register it .* a SavedModel")
    assert keras_file.is_of_unknown_class(error)
    assert not keras_file.is_of_unknown_class(ValueError("another"))


def test_damage_is_told(file, tmp_path):
    content = file.read_bytes()
    file.write_bytes(content[:-200])
    refused(file, r"toy\.keras, which is no \.keras file or is damaged: save the model again")
    file.write_bytes(content.replace(b"PK\x03\x04", b"PK\x03\x05"))
    refused(file, r"whole model that Keras saved\. .*toy\.keras, \d+ bytes .*cut short, damaged or")
    refused(tmp_path / "absent.keras", r"absent\.keras, which does not exist\.")
    file.rename(tmp_path / "toy.zip")
    refused(tmp_path / "toy.zip", r"toy\.zip, which is no \.keras file")
