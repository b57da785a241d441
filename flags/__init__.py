"""The command line of each job: one file a job, its flags made from the job's Config.

This folder and main.py are the only places that know absl.
"""

import importlib

from flags import _help
from flags._help import help_of
from flags.common import HELP_FLAGS, Job, UsageError, parse
from pcd_tf import plugins

__all__ = ["HELP_FLAGS", "Job", "UsageError", "help_of", "job", "names", "overview", "parse"]


def names() -> tuple[str, ...]:
    """Lists the jobs: the modules of this folder that describe one."""
    return tuple(name for name in plugins.names(__name__) if name != "common")


def job(name: str) -> Job:
    """Returns the description of a job.

    Raises:
        UsageError: when there is no such job; names the nearest one.
    """
    if name not in names():
        raise UsageError(
            f"Expected a job: {', '.join(names())}. Received: {name!r}."
            f"{plugins.did_you_mean(name, names())}\nSee: main.py --help"
        )
    found: Job = importlib.import_module(f"{__name__}.{name}").JOB
    return found


def overview() -> str:
    """Lists the jobs, each with what it does and an example."""
    return _help.overview(job(name) for name in names())
