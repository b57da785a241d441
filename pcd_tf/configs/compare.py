"""The settings of `compare`: the same fine-tuning from several inits, with several seeds."""

import dataclasses
from collections.abc import Iterator

from pcd_tf.configs._bounds import LARGEST_SEED
from pcd_tf.configs._finetuning import FinetuningConfig
from pcd_tf.settings import Conflict, setting, with_default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FinetuningConfig):
    """Settings of a comparison.

    Example:
        Config(inits="random,runs/student", workdir="runs/compare", dataset="voc", data_dir="bccd")
    """

    inits: str = setting(
        "",
        help="What to compare, separated by commas, each as finetune takes it by --init. The "
        "others are compared with the first: random, for example.",
        group="model",
        source="[ours]",
        unit="list of names or paths",
    )
    seeds: int = setting(
        3,
        help="How many times each is trained. Runs of one seed have the same heads at the start "
        "and the same images in the same order, but for mask_rcnn, whose input is parallel.",
        group="run",
        source="[ours]",
        unit="runs",
        minimum=1,
        maximum=1000,
        maximum_reason="Each trains every init once more.",
    )
    eval_every_epochs: float | None = with_default(
        FinetuningConfig, "eval_every_epochs", 1.0, source="[ours]"
    )
    seed: int = with_default(
        FinetuningConfig, "seed", 0, source="[ours]", help="The first of the seeds."
    )
    workdir: str = with_default(
        FinetuningConfig,
        "workdir",
        "",
        source="[ours]",
        help="Where the runs and the comparison are written. A comparison that was interrupted "
        "goes on: finished runs are kept.",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The inits, one by one."""
        return tuple(name.strip() for name in self.inits.split(",") if name.strip())

    def conflicts(self) -> Iterator[Conflict]:
        yield from super().conflicts()
        if len(self.names) < 2 or len(set(self.names)) < len(self.names):
            text = f"expected two or more different ones. Received: {self.inits!r}."
            yield ("inits",), text
        if self.seed + self.seeds > LARGEST_SEED + 1:
            text = f"expected the last of the {self.seeds} seeds to be at most {LARGEST_SEED}."
            yield ("seed", "seeds"), f"{text} Received: {self.seed} for the first."
        for name in self.names:
            yield from self.init_conflicts(name)
