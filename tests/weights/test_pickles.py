"""Pickles that would not end, or end the process, are refused before they are loaded."""

import io
import pickle
import zipfile
from pathlib import Path

import pytest

from pcd_tf.errors import UserError
from pcd_tf.weights import _pickles, checkpoint

START, END = b"\x80\x02}", b"K\x01s."  # protocol 2, an empty dict; the value 1, set, stop
DOUBLED = b"K\x01\x85q\x01" + 40 * b"h\x01h\x01\x86q\x01"  # a tuple of itself twice, 2^40 parts
HARMFUL = {
    "a key of tuples in tuples": START + b"K\x01" + 2_000_000 * b"\x85" + END,
    "a key of 2^40 parts": START + DOUBLED + END,
    "a set of it": START + b"K\x02cbuiltins\nset\n" + DOUBLED + b"\x85Rs.",
    "bare memory": START + b"K\x02cbuiltins\nbytearray\n\x8a\x05\x00\xbc\xa0\x65\x01\x85Rs.",
}


def archived(content: bytes) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, file)
    changed = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(changed, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, content if name.endswith("data.pkl") else archive.read(name))
    return changed.getvalue()


@pytest.mark.torch
@pytest.mark.parametrize("content", HARMFUL.values(), ids=HARMFUL)
def test_a_harmful_pickle_is_refused(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(archived(content))
    with pytest.raises(UserError, match=r"a\.pth, which is made to do harm"):
        checkpoint.read(tmp_path / "a.pth")


@pytest.mark.torch
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_checkpoint_of_a_training_run_passes(tmp_path, is_zip):
    import torch

    network = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(50)))
    content = {"epoch": 3, "state_dict": network.state_dict(), "loss": [(1, 0.5)] * 1000}
    file = tmp_path / "a.pth"
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    assert len(checkpoint.read(file)) == 100


@pytest.mark.parametrize("protocol", range(6))
def test_what_a_pickle_builds_is_followed(protocol):
    value = {"a": [(1, (2, (3,)))] * 3, ("b", 2.0): ("c", None, True, {1}), "d": b"bytes" * 100}
    stack = list(_pickles._built(io.BytesIO(pickle.dumps(value, protocol))))
    assert max(depth for _, (_, depth) in stack) == 3
    _pickles.check(io.BytesIO(pickle.dumps(value, protocol)), Path("a.pth"))


def test_a_damaged_pickle_is_left_to_its_loader():
    for content in (b"", b"\x80\x02}", b"h\x07.", b"t.", b"no pickle"):
        _pickles.check(io.BytesIO(content), Path("a.pth"))
