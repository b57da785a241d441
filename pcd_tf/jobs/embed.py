"""Computes the embedding of every image of a source, into one file."""

import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pcd_tf import __version__, atomic, data, errors
from pcd_tf.configs.embed import Config
from pcd_tf.errors import UserError
from pcd_tf.jobs import _embeddings as embeddings
from pcd_tf.jobs._parts import Part, Parts
from pcd_tf.models import embedder
from pcd_tf.training import devices, interrupts

# A part is kept after so many images or so much time, whichever comes first: what a killed run
# loses at most, and what lies in memory.
IMAGES_PER_PART = 8192
SECONDS_PER_PART = 60.0

_PACKAGES = ("tensorflow", "keras", "keras-hub", "numpy")


def run(config: Config) -> None:
    """Embeds every readable image, in the source's order; unreadable ones are named and left out.

    What is computed lies in OUT.partial until all is done; the same call goes on from there.

    Raises:
        UserError: when the settings, the model, the images or an earlier part do not fit.
        DecodeError: when no image can be decoded.
        KeyboardInterrupt: when SIGINT or SIGTERM came; what was computed is kept.

    Example:
        run(Config(data_dir="PHOTOS", model="runs/student", out="photos.npz"))
        photos = np.load("photos.npz")
        unit = photos["embeddings"] / np.linalg.norm(photos["embeddings"], axis=1, keepdims=True)
        nearest = np.argsort(-unit @ unit[0])[1:6]  # the five images most like the first
        print(photos["names"][nearest])
    """
    config.validate()
    device = devices.describe(devices.strategy("one_device"))
    data.set_max_pixels(config.max_pixels)
    source = data.build(
        config.dataset,
        data_dir=config.data_dir,
        tfds_name=config.tfds_name,
        split=config.split or "train",
    )
    network = embedder.load(config.model)
    image_size = config.image_size or network.image_size
    batch_size = config.batch_size or network.batch_size
    # Before anything is made: a call that cannot work must not stand in the corrected one's way.
    network.check(image_size=image_size, batch_size=batch_size)

    out = Path(config.out)
    description = {
        **data.identity(source),
        "model_kind": network.kind,
        "model_sha256": network.sha256,
        "image_size": image_size,
        "max_pixels": config.max_pixels,
    }
    parts = Parts(out.with_name(f"{out.name}.partial"), description)
    print(
        f"Embeds the images of {source.name}.\n"
        f"  images    {source.num_examples}, the central square at {image_size} px"
        f"{data.noted(source)}\n"
        f"  model     {config.model} ({network.kind})\n"
        f"  device    {device}\n"
        f"  out       {config.out}",
        flush=True,
    )
    if parts.num_done:
        print(f"Resumes at image {parts.num_done} of {source.num_examples}.", flush=True)
    _compute(network, source, parts, image_size=image_size, batch_size=batch_size)
    used = {"model": config.model, "batch_size": batch_size, "left_out": source.left_out}
    _write(parts, source, {**description, **used}, out)


@errors.translated()
def _compute(
    network: embedder.Embedder,
    source: data.Source,
    parts: Parts,
    *,
    image_size: int,
    batch_size: int,
) -> None:
    """Embeds what is not in the parts yet, and keeps it there."""
    first = parts.num_done
    if first == source.num_examples:
        return
    batches = data.images_in_order(
        source, image_size=image_size, batch_size=batch_size, start=first
    )
    begun = kept_at = time.perf_counter()
    waited = 0.0
    stop = first
    pending: list[Part] = []
    with interrupts.held_back() as asked_to_stop, _progress(source.num_examples, first) as bar:
        for batch, seconds in _timed(batches.as_numpy_iterator()):
            waited += seconds
            pending.append(_embed(network, batch, batch_size))
            stop += len(batch["index"])
            bar.update(len(batch["index"]))
            now = time.perf_counter()
            bar.set_postfix_str(f"data wait {waited / (now - begun):.0%}", refresh=False)
            is_enough = stop - parts.num_done >= IMAGES_PER_PART or now - kept_at > SECONDS_PER_PART
            is_to_stop = asked_to_stop()
            if is_enough or is_to_stop:
                parts.add(stop, _joined(pending))
                pending, kept_at = [], now
            if is_to_stop and stop < source.num_examples:
                raise KeyboardInterrupt
        if pending:
            parts.add(stop, _joined(pending))
    seconds = time.perf_counter() - begun
    print(
        f"{stop - first} images in {seconds:.1f} s: {(stop - first) / seconds:.0f} a second, "
        f"{waited / seconds:.0%} of the time waiting for data."
    )


def _embed(network: embedder.Embedder, batch: dict[str, Any], batch_size: int) -> Part:
    """Embeds a batch; what could not be decoded was computed with it, and is left out here."""
    readable = batch["readable"]
    vectors = network(batch["images"], batch_size=batch_size)[readable]
    if not np.isfinite(vectors).all():
        raise UserError(
            "Expected finite embeddings. Received: NaN or infinity among images "
            f"{batch['index'][0]} to {batch['index'][-1]}: the model's weights are damaged."
        )
    return Part(batch["index"][readable], vectors, batch["label"][readable])


def _joined(parts: list[Part]) -> Part:
    return Part(
        np.concatenate([part.index for part in parts]),
        np.concatenate([part.embeddings for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )


def _write(parts: Parts, source: data.Source, description: dict[str, Any], out: Path) -> None:
    """Makes the file of the parts, then removes these."""
    was_read = np.zeros(source.num_examples, np.bool_)
    has_labels = False
    for part in parts:
        was_read[part.index] = True
        has_labels = has_labels or bool((part.labels >= 0).any())
    skipped = [source.image_name(int(index)) for index in np.flatnonzero(~was_read)]
    if len(skipped) == source.num_examples:
        parts.remove()
        raise data.DecodeError(
            f"Expected an image that can be decoded in {source.name}. Received: "
            f"{len(skipped)} unreadable ones; the log says why."
        )

    def blocks() -> Iterator[embeddings.Block]:
        for part in parts:
            names = [source.image_name(int(index)) for index in part.index]
            if names:
                yield embeddings.Block(names, part.embeddings, part.labels)

    versions = {name: metadata.version(name) for name in _PACKAGES} | {"pcd_tf": __version__}
    table = embeddings.Table(
        blocks,
        class_names=source.class_names if has_labels else (),
        metadata={**description, "skipped": skipped, "versions": versions},
    )
    temporary = parts.folder / f"whole{out.suffix}"
    embeddings.write(table, temporary)
    atomic.flush(temporary)  # on the disk before it takes the place of its parts
    if out.exists():
        raise UserError(f"Expected a new file. Received: {out}, which was made meanwhile.")
    temporary.replace(out)
    atomic.flush(out.parent)
    parts.remove()
    print(f"Done: {int(was_read.sum())} embeddings in {out}.")
    if skipped:
        more = f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        print(f"{len(skipped)} unreadable images left out: {', '.join(skipped[:10])}{more}")


def _progress(total: int, initial: int) -> Any:
    interval = 1.0 if sys.stderr.isatty() else 30.0  # seconds; a file wants fewer lines
    return tqdm(total=total, initial=initial, unit="image", mininterval=interval, smoothing=0.3)


def _timed(batches: Iterator[Any]) -> Iterator[tuple[Any, float]]:
    """Yields each batch with the seconds that it was waited for."""
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - start
