"""The command line from outside: texts, exit statuses, no tracebacks."""

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import flags
import main
from pcd_tf import atomic, errors, plugins

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def job(monkeypatch):
    """Puts a function in the place of pretrain's `run`."""

    def put(run):
        monkeypatch.setitem(sys.modules, flags.job("pretrain").runner, SimpleNamespace(run=run))

    return put


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")


def fail(error):
    raise error


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"], ["-h"], ["--helpfull"]])
def test_help_lists_the_jobs(arguments, capsys):
    assert main.main(arguments) == 0
    assert capsys.readouterr().out == flags.overview() + "\n"


@pytest.mark.parametrize(
    "arguments",
    [["distill", "--help"], ["help", "distill"], ["distill", "--seed=1", "-h"]],
)
def test_help_of_a_job(arguments, capsys):
    assert main.main(arguments) == 0
    assert capsys.readouterr().out == flags.help_of(flags.job("distill")) + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distil"], "Did you mean 'distill'?"),
        (["help", "exprt"], "Did you mean 'export'?"),
        (["--workdir=x", "distill"], "finetune, prepare, pretrain."),
        (["distill", "--studnt=resnet18"], "Did you mean '--student'?"),
        (["distill", "now"], "Received: 'now'."),
        (["distill", "--temperature=0"], "3 settings cannot work:\n  teacher_checkpoint: expected"),
    ],
)
def test_a_mistake_is_one_message_on_stderr_and_status_2(arguments, message, capsys):
    assert main.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("main.py: ")
    assert message in printed.err
    assert "Traceback" not in printed.err


def test_a_job_runs_with_its_config(job, tmp_path):
    seen: list[Any] = []
    job(seen.append)
    assert main.main(["pretrain", f"--workdir={tmp_path}", "--seed=7"]) == 0
    (config,) = seen
    assert (config.workdir, config.seed) == (str(tmp_path), 7)
    assert type(config) is flags.job("pretrain").config_class


def test_bad_settings_stop_before_the_job_runs(job):
    job(lambda config: fail(AssertionError("it ran")))
    assert main.main(["pretrain", "--workdir=x", "--seed=-1"]) == 2


def test_an_error_that_the_project_explains_has_no_traceback(job, capsys):
    job(lambda config: plugins.load("pcd_tf.students", "resnet81"))
    assert main.main(["pretrain", "--workdir=x"]) == 2
    assert "Did you mean 'resnet18'?" in capsys.readouterr().err


def test_a_missing_file_has_no_traceback(job, capsys):
    job(lambda config: Path("/no/such/file").read_text())
    assert main.main(["pretrain", "--workdir=x"]) == 2
    assert "/no/such/file" in capsys.readouterr().err


def test_debug_shows_where_an_error_was_raised(job):
    job(lambda config: plugins.load("pcd_tf.students", "resnet81"))
    with pytest.raises(ValueError, match="resnet81"):
        main.main(["pretrain", "--workdir=x", "--debug"])


@pytest.mark.parametrize("error", [ValueError("shapes"), KeyError("x"), OSError("no name")])
def test_a_bug_is_one_line_that_names_the_file_of_its_traceback(job, error, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    job(lambda config: fail(error))
    assert main.main(["pretrain", f"--workdir={tmp_path}"]) == 1
    printed = capsys.readouterr().err
    (file,) = tmp_path.glob("pcd-tf-error-*.txt")
    assert printed.count("\n") == 1
    assert f"This is a bug ({type(error).__name__}: " in printed
    assert str(file) in printed
    assert "in fail\n    raise error" in file.read_text()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The directory for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["not_made", "empty"])
def test_a_workdir_that_is_no_run_yet_stays_empty(job, name, tmp_path, temporary, capsys):
    """A new run is refused in a directory that holds something."""
    (tmp_path / "empty").mkdir()
    job(lambda config: fail(ValueError("shapes")))
    assert main.main(["pretrain", f"--workdir={tmp_path / name}"]) == 1
    (file,) = temporary.iterdir()
    assert str(file) in capsys.readouterr().err
    assert not list((tmp_path / "empty").iterdir())


def test_a_bug_in_the_reading_of_flags_is_reported_like_any_other(temporary, monkeypatch, capsys):
    monkeypatch.setattr(flags, "parse", lambda job, rest: fail(TypeError("no text")))
    assert main.main(["pretrain", "--workdir=x"]) == 1
    assert "This is a bug (TypeError: no text)" in capsys.readouterr().err
    assert len(list(temporary.iterdir())) == 1


def test_a_bug_in_bottomless_recursion_is_reported_like_any_other(job, temporary, capsys):
    def run(config):
        run(config)

    job(run)
    assert main.main(["pretrain", "--workdir=x"]) == 1
    assert "This is a bug (RecursionError: " in capsys.readouterr().err


def test_the_line_of_a_bug_has_neither_lines_nor_codes_for_the_terminal(job, temporary, capsys):
    job(lambda config: fail(ValueError("\x1b[2Jshapes\r\nand more " + "x" * 1000)))
    assert main.main(["pretrain", "--workdir=x"]) == 1
    printed = capsys.readouterr().err
    assert r"(ValueError: \x1b[2Jshapes\r)" in printed
    assert printed.count("\n") == 1
    (file,) = temporary.iterdir()
    assert "and more xxx" in file.read_text()


def test_the_traceback_of_a_bug_holds_what_led_to_it(job, temporary):
    def run(config):
        try:
            fail(KeyError("first\udcff"))
        except KeyError as error:
            raise ValueError("second") from error

    job(run)
    assert main.main(["pretrain", "--workdir=x"]) == 1
    (file,) = temporary.iterdir()
    text = file.read_text()
    assert r"KeyError: 'first\udcff'" in text
    assert "direct cause" in text
    assert "ValueError: second" in text


def test_where_nothing_can_be_written_a_bug_is_still_one_line(job, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.gettempdir", lambda: fail(FileNotFoundError("no directory")))
    job(lambda config: fail(ValueError("shapes")))
    assert main.main(["pretrain", "--workdir=x"]) == 1
    assert capsys.readouterr().err == (
        "main.py: This is a bug (ValueError: shapes). --debug shows where: please report it.\n"
    )


def test_a_message_keeps_its_lines_and_loses_codes_for_the_terminal(job, capsys):
    job(lambda config: fail(errors.UserError("2 files:\n  \x1b[2Ja.jpg\n  b\udcff.jpg")))
    assert main.main(["pretrain", "--workdir=x"]) == 2
    expected = "main.py: 2 files:\n  \\x1b[2Ja.jpg\n  b\\udcff.jpg\n"
    assert capsys.readouterr().err == expected


def test_a_job_prints_names_that_are_no_utf_8(job, capsys):
    job(lambda config: print("b\udcff.jpg"))
    assert main.main(["pretrain", "--workdir=x"]) == 0
    assert capsys.readouterr().out == "b\\udcff.jpg\n"


def test_what_ends_python_on_purpose_ends_it(job):
    job(lambda config: sys.exit(7))
    with pytest.raises(SystemExit, match="7"):
        main.main(["pretrain", "--workdir=x"])


def test_memory_that_runs_out_is_no_bug(job, capsys):
    job(lambda config: fail(MemoryError()))
    assert main.main(["pretrain", "--workdir=x"]) == 2
    assert "too little memory" in capsys.readouterr().err


def test_a_warning_shows_the_codes_of_a_terminal_and_obeys_none(job, capsys):
    job(lambda config: logging.getLogger("pcd_tf.data").warning("Skipped %s", "\x1b[2Ja.jpg"))
    assert main.main(["pretrain", "--workdir=x"]) == 0
    assert capsys.readouterr().err == "Skipped \\x1b[2Ja.jpg\n"


def test_debug_raises_a_bug(job):
    job(lambda config: fail(KeyError("x")))
    with pytest.raises(KeyError):
        main.main(["pretrain", "--workdir=x", "--debug"])


def test_the_keyboard_stops_without_traceback(job, capsys):
    job(lambda config: fail(KeyboardInterrupt()))
    assert main.main(["pretrain", "--workdir=x"]) == 130
    assert "resumes" in capsys.readouterr().err


def test_the_keyboard_stops_before_a_job_is_chosen(monkeypatch, capsys):
    monkeypatch.setattr(flags, "overview", lambda: fail(KeyboardInterrupt()))
    assert main.main([]) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "status", "by"),
    [
        (signal.SIGINT, 130, "the keyboard"),
        (signal.SIGTERM, 143, "SIGTERM"),
        (signal.SIGHUP, 129, "SIGHUP"),
    ],
)
def test_a_signal_stops_a_job_that_leaves_no_hidden_folder(
    job, tmp_path, capsys, number, status, by
):
    def run(config):
        with atomic.directory(tmp_path / "out") as folder:
            (folder / "file").touch()
            signal.raise_signal(number)

    job(run)
    assert main.main(["pretrain", "--workdir=x"]) == status
    assert f"Stopped by {by}. The same command resumes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_closed_terminal_is_no_traceback(job, monkeypatch):
    def closed(text):
        raise OSError(errno.EIO, "Input/output error")

    job(lambda config: signal.raise_signal(signal.SIGHUP))
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=closed))
    assert main.main(["pretrain", "--workdir=x"]) == 129


def test_another_keras_backend_is_refused(job, monkeypatch, capsys):
    job(lambda config: None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert main.main(["pretrain", "--workdir=x"]) == 2
    assert "Expected KERAS_BACKEND=tensorflow" in capsys.readouterr().err


def test_the_environment_is_settled_before_the_job_runs(job, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    names = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL")
    seen: list[str] = []
    job(lambda config: seen.extend(os.environ[name] for name in names))
    assert main.main(["pretrain", "--workdir=x"]) == 0
    assert seen == ["tensorflow", "3"]


def test_a_level_of_logging_that_was_asked_for_is_kept(job):
    job(lambda config: None)
    assert main.main(["pretrain", "--workdir=x"]) == 0
    assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "1"


def test_as_a_program():
    def run(*arguments):
        command = [sys.executable, str(ROOT / "main.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("export", "--help").stdout == flags.help_of(flags.job("export")) + "\n"
    wrong = run("export", "--workdir=/no/such/run")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n  ") == 2


def status_with_output_to(stdout, *arguments):
    command = [sys.executable, str(ROOT / "main.py"), *arguments]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["help"], ["distill", "--help"]])
def test_a_reader_that_has_read_enough_ends_it_without_a_word(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        assert status_with_output_to(stream, *arguments) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_to_a_full_disk_is_told():
    with Path("/dev/full").open("w") as stream:
        status, message = status_with_output_to(stream, "help")
    assert status == 2
    assert message.startswith("main.py: The disk is full, ")
    assert message.count("\n") == 1


def test_names_that_are_no_utf_8_are_refused_before_anything_is_made(tmp_path):
    name = os.fsdecode(b"\xff\xfe")
    status, message = status_with_output_to(None, "pretrain", f"--workdir={tmp_path / name}")
    assert status == 2
    assert "workdir: expected a text in UTF-8 without control characters." in message
    assert not list(tmp_path.iterdir())
