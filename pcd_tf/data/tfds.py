"""`--dataset=tfds`: any TensorFlow Datasets name with an `image` feature, streamed."""

import logging
from typing import Any

import tensorflow_datasets

from pcd_tf.data._built import BuiltSource
from pcd_tf.errors import UserError

logger = logging.getLogger(__name__)


def build(
    *,
    tfds_name: str | None = None,
    data_dir: str | None = None,
    split: str = "train",
    download: bool = True,
    **_: object,
) -> "TfdsSource":
    """Opens a split of the dataset `tfds_name`, prepared below `data_dir` (default: TFDS's own)."""
    if tfds_name is None:
        raise UserError('Expected tfds_name, such as "cifar10" or "voc/2012". Received: None.')
    return TfdsSource(tfds_name, data_dir=data_dir, split=split, download=download)


class TfdsSource(BuiltSource):
    """A split of a TensorFlow Datasets dataset; one that is not yet prepared is prepared first.

    Args:
        tfds_name: name, or name/config, or name/config:version.
        data_dir: where TFDS keeps its data; None is TFDS's own default, ~/tensorflow_datasets.
        split: a split, or a part of one: "train", "test", "train[:80%]".
        download: whether to download and prepare a dataset that is not prepared.

    Raises:
        UserError: when there is no such dataset or split, or it has no usable `image` feature; when
            the dataset is not prepared, and cannot or must not be.

    Example:
        source = TfdsSource("cifar10", split="train[:1000]")
    """

    def __init__(
        self,
        tfds_name: str,
        *,
        data_dir: str | None = None,
        split: str = "train",
        download: bool = True,
    ) -> None:
        builder = _prepared_builder(tfds_name, data_dir, download=download)
        super().__init__(builder, split, name=f"tfds {builder.info.full_name} {split}")


def _prepared_builder(tfds_name: str, data_dir: str | None, *, download: bool) -> Any:
    try:
        builder = tensorflow_datasets.builder(tfds_name, data_dir=data_dir)
    except (tensorflow_datasets.core.DatasetNotFoundError, AssertionError) as error:
        # AssertionError: there is no such version
        reason = str(error).splitlines()[0]  # the list of all datasets follows
        raise UserError(
            f"Expected the name of a TensorFlow dataset. Received: {tfds_name!r}. {reason} "
            "See https://www.tensorflow.org/datasets/catalog."
        ) from error
    if not builder.data_path.exists():
        if not download:
            raise UserError(
                f"Expected {tfds_name} to be prepared in {builder.data_path}. Received: nothing "
                f"there. Prepare it first: `tfds build {tfds_name}`."
            )
        logger.warning("Preparing %s in %s; this may download it.", tfds_name, builder.data_path)
        try:
            builder.download_and_prepare()
        except Exception as error:  # what can go wrong is up to each dataset's own code
            raise UserError(
                f"Expected {tfds_name} to be prepared in {builder.data_path}. Received: nothing "
                f"there, and it could not be prepared here: {type(error).__name__}: {error}. "
                f"Prepare it where there is a network (`tfds build {tfds_name}`), "
                "copy it, and give data_dir."
            ) from error
    return builder
