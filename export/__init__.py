"""Formats that a distilled student can leave in, one file each.

A format is a module with two functions:

- `write(order, directory)` writes what an `Order` asks for into an empty directory;
- `entrances(order, directory)` loads what was written and gives, by name, the functions that an
  image can go in at: uint8 images (B, H, W, 3) -> outputs by name, or None where the entrance does
  not take images of this size. The job asks each of them before it says done.

and, where it differs from the rest:

- `PACKAGES`, what `pip install` has to be told for it to run, beyond the requirements;
- `FIXED = True`, when it takes images of one size and number only;
- `SETTINGS`, the names of the order's settings that are this format's own;
- `bound(order)`, the `Bound` that it is held to.
"""

import json
from typing import TYPE_CHECKING

from pcd_tf import atomic, digests, errors, plugins

if TYPE_CHECKING:
    from pcd_tf.configs.export import Config


def names() -> tuple[str, ...]:
    """Lists the formats: the choices of `--format`."""
    return plugins.names(__name__)


def run(config: "Config") -> None:
    """Writes the student of a finished distill run in one format, checked before it gets its name.

    In the same directory stands `pcd.json`: the normalisation, the image size, the levels of the
    pyramid, what was checked, and the run that the student is from.

    Raises:
        UserError: when there is no finished distill run at `config.workdir`, `config.out` holds
            something, the format is unknown or not one for this student, or what was written does
            not equal the Keras student. Nothing is left at `config.out` then; when a package that
            the format needs is not installed.

    Example:
        run(Config(workdir="runs/student", format="saved_model", out="runs/student/saved_model"))
    """
    from export import _order, _packages, _verify
    from pcd_tf import students

    chosen = plugins.load(__name__, config.format)
    _packages.require(getattr(chosen, "PACKAGES", ()), config.format)
    atomic.refuse_occupied(config.out)
    order = _order.order(
        config, students.read(config.workdir), fixed=getattr(chosen, "FIXED", False)
    )
    bound = getattr(chosen, "bound", lambda _: _verify.Bound())(order)
    with atomic.directory(config.out) as directory:
        with errors.translated():
            chosen.write(order, directory)
        report = _verify.check(order, chosen.entrances(order, directory), bound)
        description = {
            "format": config.format,
            "input_shape": order.input_shape,
            **{name: getattr(order, name) for name in getattr(chosen, "SETTINGS", ())},
            **report.description(),
            **order.student.description(),
        }
        (directory / "pcd.json").write_text(json.dumps(description, indent=2) + "\n")
        digests.write(directory)
    print(f"Exported {config.workdir} as {config.format} to {config.out}.\n{report}")
