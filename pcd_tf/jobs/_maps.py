"""Images with class maps to learn from and to score, checked before anything long."""

from pcd_tf import outside, segmented


def open_maps(
    dataset: str, splits: tuple[str, str], *, data_dir: str | None, seed: int = 0
) -> tuple[segmented.Source, segmented.Source]:
    """Opens two splits of a source of class maps.

    Args:
        dataset: one of `segmented.names()`.
        splits: to learn from, and to score.
        data_dir: where its files are.
        seed: which synthetic world.

    Raises:
        UserError: when a split is not there, the two differ in their classes, or maps do not fit.
    """
    train, held_out = (
        segmented.build(dataset, split=split, data_dir=data_dir, seed=seed) for split in splits
    )
    outside.check_same_classes(train, held_out)
    for source in (train, held_out):
        source.check()
    return train, held_out
