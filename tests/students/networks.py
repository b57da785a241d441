"""Small networks that stand for a user's own; `tests.students.networks:classifier` names one."""

import keras
from keras import layers


@keras.saving.register_keras_serializable("tests")
class Scale(layers.Layer):
    """A layer of the user's own: a factor for each channel."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")

    def call(self, inputs):
        return inputs * self.factor


@keras.saving.register_keras_serializable("tests")
class Forgetful(layers.Layer):
    """Multiplies by a factor that its configuration leaves out."""

    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return super().get_config()


def forgetful():
    images = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=4)(images)
    return keras.Model(images, Forgetful(4.0)(x), name="forgetful")


def encoder(size=None, depth=5):
    """Stages "stage0".. with a residual branch and a padded stride: (B, H, W, 3) -> stride 32."""
    images = keras.Input((size, size, 3))
    x = images
    for stage in range(depth):
        x = layers.ZeroPadding2D(1, name=f"pad{stage}")(x)
        x = layers.Conv2D(4 + stage, 3, strides=2, use_bias=False, name=f"down{stage}")(x)
        x = layers.BatchNormalization(name=f"norm{stage}")(x)
        inner = layers.Conv2D(4 + stage, 3, padding="same", name=f"inner{stage}")(x)
        inner = layers.ReLU(name=f"relu{stage}")(inner)
        x = layers.Add(name=f"stage{stage}")([x, Scale(name=f"scale{stage}")(inner)])
    return keras.Model(images, x, name="encoder")


def classifier():
    """The encoder for 64 pixels and what classifies, bound to that size by Flatten."""
    base = encoder(64)
    x = layers.Flatten(name="flat")(base.output)
    return keras.Model(base.input, layers.Dense(3, name="classes")(x), name="classifier")


def nested():
    """A model in a model, as transfer learning has it."""
    images = keras.Input((64, 64, 3))
    x = layers.GlobalAveragePooling2D(keepdims=True)(encoder(64)(images, training=False))
    return keras.Model(images, layers.Conv2D(3, 1)(x), name="nested")


def sequential():
    """The map is the last but one; no layer has a name."""
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, strides=8, padding="same"),
            layers.BatchNormalization(),
            layers.Conv2D(6, 3, strides=2, padding="same"),
            layers.GlobalMaxPooling2D(),
        ],
        name="sequential",
    )


def with_lambda():
    images = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=4)(images)
    return keras.Model(images, layers.Lambda(lambda x: 2 * x)(x), name="with_lambda")


def bound_to_a_size():
    images = keras.Input((64, 64, 3))
    tokens = layers.Reshape((16, 4))(layers.Conv2D(4, 16, strides=16)(images))
    return keras.Model(images, layers.Reshape((4, 4, 4))(tokens), name="bound")


def of_vectors():
    features = keras.Input((8,))
    return keras.Model(features, layers.Dense(2)(features), name="of_vectors")


def without_map():
    images = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(images)
    return keras.Model(images, layers.Dense(2)(x), name="without_map")


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


def subclassed():
    return Subclassed(name="subclassed")


def failing():
    raise RuntimeError("no such weights")


def number():
    return 3
