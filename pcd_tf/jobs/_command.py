"""The command that a job prints for what comes next."""

import shlex


def command(job: str, **settings: object) -> str:
    """Returns a command line that a shell takes as it is, whatever the names of the files.

    Settings that are None are left out.

    Example:
        command("export", workdir="my run")  # "python main.py export '--workdir=my run'"
    """
    given = (f"--{name}={value}" for name, value in settings.items() if value is not None)
    return shlex.join(["python", "main.py", job, *given])
