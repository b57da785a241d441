"""A teacher from elsewhere, converted and checked at once."""

from typing import Any

import keras
import numpy as np

from pcd_tf import teachers
from pcd_tf.errors import UserError

# The largest error of the invariance that passes: [ours]. Rounding makes 4e-7 of it in float32,
# 2e-3 in float16, which has as many bits as TensorFloat-32, and 1e-2 in bfloat16; a mistake in a
# layer makes 1.
BOUND = 1e-2
BOUND_OF_MIXED_PRECISION = 1e-1
_SIZE = 224  # pixels a side, where the backbone takes any


def convert(name: str, path: str, options: dict[str, Any]) -> teachers.Teacher:
    """Converts a teacher, checks it on a random batch, and says what was done.

    The check is that of SpatialAdaptor: the mean over pixels of the embedding is the head of the
    mean pixel.

    Raises:
        UserError: when the file is not this teacher's, or the check fails.
    """
    print(f"Converts {path} to {name}.", flush=True)
    teacher = teachers.convert(name, path, **options)
    height, width = (size or _SIZE for size in teacher.backbone.input_shape[1:3])
    images = np.random.default_rng(0).uniform(0, 255, size=(2, height, width, 3))
    error = teacher.invariance_error(((images - teacher.mean) / teacher.std).astype("float32"))
    is_float32 = keras.config.dtype_policy().compute_dtype == "float32"
    bound = BOUND if is_float32 else BOUND_OF_MIXED_PRECISION
    if not error <= bound:
        raise UserError(
            "Expected the mean over pixels of the embedding to be the head of the mean pixel, up "
            f"to a relative error of {bound:g}. Received: an error of {error:.2g} with {path} as "
            f"{name}. Its weights are not those of a trained network, or a layer is at fault."
        )
    print(
        f"  arrays      {teacher.origin}\n"
        f"  parameters  {_count(teacher.backbone)} of the backbone, {_count(teacher.head)} of the "
        f"head, {teacher.embedding_dim} channels of an embedding\n"
        f"  invariance  {error:.1e}, the largest relative error on a random batch (bound {bound:g})"
    )
    return teacher


def _count(model: keras.Model) -> str:
    return f"{model.count_params():,}"
