"""Flagfiles: read as a shell reads them, and never waited for."""

import os

import pytest

import flags
from flags import _flagfile
from pcd_tf.errors import UserError


@pytest.fixture
def file(tmp_path):
    """Writes a flagfile and gives its flag."""

    def write(text, name="x.flags"):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return f"--flagfile={tmp_path / name}"

    return write


def expanded(*arguments):
    return list(_flagfile.expanded(arguments))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('--data_dir="my photos"', ["--data_dir=my photos"]),
        ("--data_dir='my photos'", ["--data_dir=my photos"]),
        ("'--data_dir=my photos'", ["--data_dir=my photos"]),
        ("--data_dir=my\\ photos", ["--data_dir=my photos"]),
        ('--data_dir "my photos"', ["--data_dir", "my photos"]),
        ("--seed=1 --mhsa", ["--seed=1", "--mhsa"]),
        ("  --seed=1\t", ["--seed=1"]),
        ("--data_dir=photos#1", ["--data_dir=photos#1"]),
        ("--data_dir=", ["--data_dir="]),
        ("--data_dir=Füchse", ["--data_dir=Füchse"]),
        ("# --seed=1", []),
        ("  // --seed=1", []),
        ("", []),
    ],
)
def test_a_line_is_read_as_a_shell_reads_it(file, line, expected):
    assert expanded(file(line)) == expected


@pytest.mark.parametrize(
    "text",
    [b"--a=1\n--b=2", b"--a=1\r\n--b=2\r\n", b"\xef\xbb\xbf--a=1\n\n--b=2\n"],
    ids=["unix", "windows", "byte-order mark"],
)
def test_the_line_ends_and_marks_of_other_systems_are_understood(file, text):
    assert expanded(file(text)) == ["--a=1", "--b=2"]


def test_the_flags_stand_where_their_file_stood(file):
    inner = file("--b=2", "inner.flags")
    outer = file(f"--a=1\n{inner}\n--c=3")
    assert expanded("--z", outer, "--y") == ["--z", "--a=1", "--b=2", "--c=3", "--y"]
    assert expanded("--flagfile", inner.partition("=")[2]) == ["--b=2"]
    assert expanded(inner, inner) == ["--b=2", "--b=2"]


def test_the_home_directory_is_understood(file, tmp_path, monkeypatch):
    file("--a=1")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("--flagfile=~/x.flags") == ["--a=1"]


def test_a_file_within_itself_is_refused(file, tmp_path):
    first = file(f"--flagfile={tmp_path}/second.flags", "first.flags")
    file(f"--flagfile={tmp_path}/./first.flags", "second.flags")
    with pytest.raises(UserError, match="expected no file within itself"):
        expanded(first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('--seed=1\n--data_dir="photos', r"x.flags, line 2: expected flags.*No closing quotation"),
        (b"--data_dir=F\xfcchse", "expected UTF-8"),
        (b" " * (2**20 + 1), "at most 1 MiB"),
        ("--flagfile=a\0b", "expected an existing file"),
    ],
    ids=["quote", "latin-1", "large", "zero byte"],
)
def test_what_is_no_text_of_flags_is_refused(file, text, message):
    with pytest.raises(UserError, match=message):
        expanded(file(text))


@pytest.mark.parametrize("name", ["gone", "folder", "fifo", "loop", "x" * 300, "x" * 5000, ""])
def test_what_is_no_file_is_refused_at_once(tmp_path, name):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = f"{tmp_path / name}" if name else ""
    with pytest.raises(UserError, match=r"--flagfile: expected (an existing|a) file"):
        expanded(f"--flagfile={path}")


def test_a_file_that_may_not_be_read_is_named(file, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", "x.flags")

    flag = file("--a=1")
    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    with pytest.raises(UserError, match=r"Received: Permission denied: .*x\.flags"):
        expanded(flag)


def test_a_job_takes_values_with_spaces_from_a_flagfile(file, tmp_path):
    flag = file(f'--data_dir="{tmp_path}/my photos"\n--dataset=folder\n--seed=7')
    config = flags.parse(flags.job("pretrain"), [flag, "--seed=8"])[0]
    assert vars(config)["data_dir"] == f"{tmp_path}/my photos"
    assert vars(config)["seed"] == 8


def test_the_error_of_a_flagfile_leads_to_the_help(file):
    with pytest.raises(flags.UsageError, match=r"(?s)existing file.*See: main.py embed --help"):
        flags.parse(flags.job("embed"), ["--flagfile=/no/such/file"])
