"""Digests find every change to the files that they were taken of, and nothing else."""

import hashlib
import shutil
import subprocess

import keras
import numpy as np
import pytest

from pcd_tf import digests


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)))
    (tmp_path / "inner" / "more.bin").write_bytes(b"more")
    (tmp_path / "settings.json").write_text("{}")
    digests.write(tmp_path)
    return tmp_path


def test_what_is_unchanged_passes(folder):
    digests.check(folder)
    (folder / "settings.json").write_text('{"edited": true}')
    (folder / "README.md").write_text("added later")
    digests.check(folder)
    (folder / digests.NAME).unlink()
    digests.check(folder)  # made elsewhere, or by an earlier release


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="the system has no sha256sum")
def test_sha256sum_reads_them(folder):
    lines = (folder / digests.NAME).read_text().splitlines()
    assert [line[66:] for line in lines] == ["inner/more.bin", "weights.bin"]
    subprocess.run(["sha256sum", "--check", "--strict", digests.NAME], cwd=folder, check=True)


@pytest.mark.parametrize("name", ["weights.bin", "inner/more.bin"])
def test_one_flipped_bit_is_found(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"Expected .*{name} to have the SHA-256 that.*another content"
    ):
        digests.check(folder)
    (folder / name).unlink()
    with pytest.raises(
        ValueError, match=rf"{name} to have the SHA-256 that.*no such file.*copy the dir"
    ):
        digests.check(folder)


@pytest.mark.parametrize("content", [b"", b"\x00\xff\n", b"0123  weights.bin\n"])
def test_a_damaged_list_is_refused(folder, content):
    (folder / digests.NAME).write_bytes(content)
    with pytest.raises(ValueError, match=rf"lines of sha256sum. Received: .*{digests.NAME}, which"):
        digests.check(folder)


def test_variables_have_the_digest_of_their_values_in_order(folder):
    """Runs keep it in config.json, so it stays the same from release to release."""
    variables = [keras.Variable([1.0, 2.0]), keras.Variable([[3]], dtype="int64")]
    values = np.array([1, 2], "float32").tobytes() + np.array([3], "int64").tobytes()
    assert digests.of_variables(variables) == hashlib.sha256(values).hexdigest()
    more = hashlib.sha256(values + b"more").hexdigest()
    assert digests.of_variables(variables, [folder / "inner" / "more.bin"]) == more


def test_a_list_leads_to_no_file_outside(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("secret")
    for name in (outside, f"inner/../../{outside.parent.name}/secret"):
        (folder / digests.NAME).write_text(f"{digests.of(outside)}  {name}\n")
        with pytest.raises(ValueError, match="no such file"):
            digests.check(folder)
