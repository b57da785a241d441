"""Whether a job can write where it is told to, asked before it begins."""

import os
from pathlib import Path


def problem_of_output(directory: str | os.PathLike[str]) -> str | None:
    """Says why nothing can be written into a directory, there already or to be made.

    Returns:
        The problem, without the name of the setting; None when there is none.

    Example:
        problem_of_output("/etc/hosts/run")  # "expected a directory, old or new. Received: ..."
    """
    place = Path(directory).absolute()
    existing = next(parent for parent in (place, *place.parents) if os.path.lexists(parent))
    if not existing.is_dir():
        what = "a file" if existing == place else f"a place in {existing}, which is a file"
        return f"expected a directory, old or new. Received {what}: {directory}."
    if not os.access(existing, os.W_OK | os.X_OK):
        return (
            f"expected a directory that can be written to. Received: {directory}, and {existing} "
            "is read-only for you. Name another."
        )
    return None
