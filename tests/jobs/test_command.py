"""The command that a job prints can be given to a shell."""

import ast
import shlex
from pathlib import Path

import pytest

from pcd_tf.jobs._command import command

JOBS = Path(__file__).resolve().parents[2] / "pcd_tf" / "jobs"


def test_a_plain_command_is_left_as_it_is():
    given = command("export", workdir=Path("runs/student"), format="saved_model", out="DIR")
    assert given == "python main.py export --workdir=runs/student --format=saved_model --out=DIR"
    assert command("embed", data_dir=None, out="DIR") == "python main.py embed --out=DIR"


@pytest.mark.parametrize("name", ["my run", "it's", "$(touch x)", "a;b", "ü*", "~"])
def test_a_shell_reads_the_name_that_was_meant(name):
    words = shlex.split(command("export", workdir=name))
    assert words == ["python", "main.py", "export", f"--workdir={name}"]


def test_no_job_writes_a_command_of_its_own():
    """An f-string with `main.py` and a value in it would be one that is not quoted."""
    for file in JOBS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                assert "main.py distill --" not in ast.unparse(node), file
                assert "main.py export --" not in ast.unparse(node), file
