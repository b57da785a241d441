"""Formats that a distilled student can leave in, one file each.

A format is a module with two functions: `write(student, directory)`, and
`answers(student, directory, images)`, what the written thing says about images at each of its
entrances, for the check before the job says done.
"""

import functools
import json
from typing import TYPE_CHECKING

from pcd_tf import atomic, plugins

if TYPE_CHECKING:
    from pcd_tf.configs.export import Config


def names() -> tuple[str, ...]:
    """Lists the formats: the choices of `--format`."""
    return plugins.names(__name__)


def run(config: "Config") -> None:
    """Writes the student of a finished distill run in one format, checked before it gets its name.

    In the same directory stands `pcd.json`: the normalisation, the image size, the levels of the
    pyramid, and the run that the student is from.

    Raises:
        ValueError: when there is no finished distill run at `config.workdir`, `config.out` holds
            something, the format is unknown, or what was written does not equal the Keras student.
            Nothing is left at `config.out` then.

    Example:
        run(Config(workdir="runs/student", format="saved_model", out="runs/student/saved_model"))
    """
    from export import _verify
    from pcd_tf import students

    chosen = plugins.load(__name__, config.format)
    atomic.refuse_occupied(config.out)
    student = students.read(config.workdir)
    with atomic.directory(config.out) as directory:
        chosen.write(student, directory)
        answers = functools.partial(chosen.answers, student, directory)
        error = _verify.largest_error(student, answers)
        description = {"format": config.format, "largest_relative_error": error}
        description |= student.description()
        (directory / "pcd.json").write_text(json.dumps(description, indent=2) + "\n")
    print(
        f"Exported {config.workdir} as {config.format} to {config.out}: largest relative error "
        f"against the Keras student {error:.1e}, allowed {_verify.TOLERANCE:.0e}."
    )
