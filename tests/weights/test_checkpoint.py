"""Every kind of file gives the same arrays; none runs code, and every damage is said in a line."""

import argparse
import builtins
import collections
import datetime as dt
import functools
import os
import pathlib
import random
import sys
import types
import zipfile
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from pcd_tf.weights import checkpoint

NESTED: dict[str, Any] = {
    "epoch": 100,
    "arch": "resnet50",
    "state_dict": {
        "module.encoder.weight": np.arange(6, dtype="float32").reshape(2, 3),
        "module.encoder.num_batches_tracked": np.array(7),
    },
    "optimizer": {"state": {0: {"momentum": np.ones(3, "float64")}}, "param_groups": [{"lr": 0.1}]},
}
FLAT = {
    "state_dict.encoder.weight": NESTED["state_dict"]["module.encoder.weight"],
    "state_dict.encoder.num_batches_tracked": np.array(7),
    "optimizer.state.0.momentum": np.ones(3, "float32"),
}


class Marker:
    """Makes a file when it is unpickled: the payload of a malicious checkpoint."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Foreign:
    """A class of the training code, harmless here: to unpickle it is to import and make it."""


def as_tensors(torch, value):
    if isinstance(value, dict):
        return {key: as_tensors(torch, inner) for key, inner in value.items()}
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def save(path, content, *, zipped=True):
    torch = pytest.importorskip("torch", reason="writes with PyTorch")
    tensors = as_tensors(torch, content)
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_same(received, expected):
    assert received.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(received[name], array)
        assert received[name].dtype == array.dtype


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".pt", ".PTH", ".ckpt", ".bin"])
def test_a_file_of_pytorch_is_read(tmp_path, suffix, zipped):
    assert_same(checkpoint.read(save(tmp_path / f"x{suffix}", NESTED, zipped=zipped)), FLAT)


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_what_published_files_hold_beside_arrays_is_left_out(tmp_path, zipped):
    content = {
        "a": np.zeros(2, "float32"),
        "args": argparse.Namespace(arch="resnet50", lr=0.03, sizes=[224, 96], out=None),
        "best_acc1": np.float64(0.7),
        "step": np.int64(3),
        "done": np.bool_(True),
        "none": None,
        "data": pathlib.Path("images"),
        "elsewhere": pathlib.PureWindowsPath("images"),
        "counts": collections.defaultdict(int, lr=3),
        "started": dt.datetime(2026, 1, 1),
    }
    assert_same(
        checkpoint.read(save(tmp_path / "x.pth", content, zipped=zipped)), {"a": content["a"]}
    )


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_settings_of_lightning_and_omegaconf_are_left_out_without_their_code(
    tmp_path, zipped, monkeypatch
):
    """The libraries are not needed: here modules of their names stand in while the file is made."""
    attributes = type("AttributeDict", (dict,), {})
    settings = type("DictConfig", (), {"__setstate__": lambda self, state: pytest.fail("was run")})
    for made, module in (
        (attributes, "pytorch_lightning.utilities.parsing"),
        (settings, "omegaconf.dictconfig"),
    ):
        made.__module__ = module
        for end in range(len(parts := module.split("."))):
            package = ".".join(parts[: end + 1])
            monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
        setattr(sys.modules[module], made.__name__, made)
    kept = settings()
    kept.content = {"lr": 0.1}
    content = {
        "state_dict": {"model.a": np.zeros(2, "float32")},
        "hyper_parameters": attributes(lr=0.1, settings=kept),
    }
    path = save(tmp_path / "x.ckpt", content, zipped=zipped)
    assert_same(checkpoint.read(path), {"state_dict.model.a": np.zeros(2, "float32")})


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["inside", "alone", "as a key"])
def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path, zipped, place):
    marker = tmp_path / "marker"
    payload = Marker(marker)
    content = {
        "inside": {"state_dict": {"a": np.zeros(2)}, "args": payload},
        "alone": payload,
        "as a key": {payload: np.zeros(2)},
    }[place]
    path = save(tmp_path / "x.pth", content, zipped=zipped)
    with pytest.raises(
        ValueError, match=r"in which stands posix\.system as well\..*nothing was run"
    ) as e:
        checkpoint.read(path)
    assert "\n" not in str(e.value)
    assert not marker.exists()
    torch = pytest.importorskip("torch")
    torch.load(path, weights_only=False)  # the file is what it is said to be
    assert marker.exists()


@pytest.mark.torch
@pytest.mark.parametrize("zipped", [True, False])
def test_a_class_of_the_training_code_is_not_made(tmp_path, zipped):
    path = save(tmp_path / "x.pth", {"a": np.zeros(2), "model": Foreign()}, zipped=zipped)
    with pytest.raises(
        ValueError, match=r"stands \S*test_checkpoint\.Foreign as well\..*nothing was run"
    ):
        checkpoint.read(path)


@pytest.mark.torch
def test_what_was_allowed_for_a_file_is_not_allowed_after_it(tmp_path):
    torch = pytest.importorskip("torch")
    checkpoint.read(save(tmp_path / "x.pth", NESTED))
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


@pytest.mark.torch
def test_a_plain_pickle_is_refused_and_nothing_runs(tmp_path):
    import pickle

    marker = tmp_path / "marker"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"{protocol}.pth"
        path.write_bytes(pickle.dumps({"a": Marker(marker)}, protocol))
        with pytest.raises(ValueError, match="Expected a") as e:
            checkpoint.read(path)
        assert "\n" not in str(e.value)
        assert "weights_only" not in str(e.value)  # no advice to load it all the same
    assert not marker.exists()


@pytest.mark.torch
def test_half_precision_becomes_float32(tmp_path):
    torch = pytest.importorskip("torch")
    values = torch.tensor([0.5, -1.25, 3.0])
    path = save(tmp_path / "x.pth", {"half": values.half(), "brain": values.bfloat16()})
    for array in checkpoint.read(path).values():
        assert array.dtype == "float32"
        np.testing.assert_array_equal(array, values.numpy())


@pytest.mark.torch
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda torch: torch.zeros(2), "Expected a dict of arrays. Received: .*, a Tensor: save"),
        (
            lambda torch: {"a": torch.eye(2).to_sparse()},
            r"dense arrays.*Received: a in .*x\.pth, of torch\.sparse",
        ),
        (lambda torch: {"a": torch.zeros(2, device="meta")}, "dense arrays.* on meta: save it as"),
        (lambda torch: {"epoch": 3}, "a checkpoint with arrays. Received: .*, which holds none"),
        (
            lambda torch: {"a": torch.zeros(2), "module.a": torch.zeros(2)},
            "names of their own. Received: .*, where two come to a once `module.` is taken out",
        ),
    ],
)
def test_a_dict_of_arrays_is_expected(tmp_path, make, message):
    torch = pytest.importorskip("torch")
    torch.save(make(torch), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=message):
        checkpoint.read(tmp_path / "x.pth")


@pytest.mark.torch
def test_a_program_is_no_checkpoint(tmp_path):
    torch = pytest.importorskip("torch")
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "x.pt")
    with pytest.raises(ValueError, match="a TorchScript program: save its state_dict"):
        checkpoint.read(tmp_path / "x.pt")


@pytest.mark.torch
def test_a_dict_that_holds_itself_comes_to_an_end(tmp_path):
    torch = pytest.importorskip("torch")
    content = {"a": torch.zeros(2)}
    content["again"] = content
    torch.save(content, tmp_path / "x.pth")
    assert_same(checkpoint.read(tmp_path / "x.pth"), {"a": np.zeros(2, "float32")})


def dicts_of_dicts(torch):
    content = {"a": torch.zeros(2)}
    for _ in range(40):  # 2**40 names
        content = {"a": content, "b": content}
    return content


def dicts_in_dicts(torch):
    content = {"a": torch.zeros(2)}
    for _ in range(200):
        content = {"": content}  # which makes no name longer
    return content


@pytest.mark.torch
@pytest.mark.parametrize("make", [dicts_of_dicts, dicts_in_dicts])
def test_dicts_without_end_are_refused(tmp_path, make):
    torch = pytest.importorskip("torch")
    torch.save(make(torch), tmp_path / "x.pth")
    with pytest.raises(ValueError, match="Expected dicts at most 50 deep, .*x.pth with more"):
        checkpoint.read(tmp_path / "x.pth")


@pytest.mark.torch
def test_the_same_dict_under_two_names_is_read_under_both(tmp_path):
    shared = {"a": np.zeros(2, "float32")}
    path = save(tmp_path / "x.pth", {"teacher": shared, "student": shared})
    assert checkpoint.read(path).keys() == {"teacher.a", "student.a"}


def one_number(torch):
    return {"a": torch.zeros(1, dtype=torch.float16).expand(200_000, 200_000)}  # 160 GB


def shared_numbers(torch):
    numbers = torch.zeros(2**20, dtype=torch.float16)
    return {str(i): numbers for i in range(1000)}  # 4 GB as float32, in a file of 2 MB


@pytest.mark.torch
@pytest.mark.parametrize("make", [one_number, shared_numbers])
def test_arrays_larger_than_the_file_allows_are_refused(tmp_path, make):
    torch = pytest.importorskip("torch")
    torch.save(make(torch), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"no more numbers than the file has room for. Received: "):
        checkpoint.read(tmp_path / "x.pth")


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_an_archive_that_unpacks_to_more_than_its_size_allows_is_refused(tmp_path, suffix):
    pytest.importorskip("torch", reason=".pth needs it")
    path = tmp_path / f"x{suffix}"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as member,
    ):
        for _ in range(260):
            member.write(bytes(2**20))
    with pytest.raises(ValueError, match="the unpacked archive would take 260 MiB"):
        checkpoint.read(path)


def test_without_pytorch_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    def no_torch(name, *args, original=builtins.__import__, **kwargs):
        if name == "torch":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    (tmp_path / "x.pth").write_bytes(b"PK something")
    with pytest.raises(
        ValueError, match=r"needs PyTorch, which is not installed: pip install torch"
    ):
        checkpoint.read(tmp_path / "x.pth")


def test_safetensors_are_read(tmp_path):
    arrays = {
        "module.a": np.arange(4, dtype="float16"),
        "b": np.array([0.5, 2.0], ml_dtypes.bfloat16),
        "n": np.array(7),
    }
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    expected = {"a": arrays["module.a"].astype("float32"), "b": np.array([0.5, 2.0], "float32")}
    assert_same(checkpoint.read(tmp_path / "x.safetensors"), expected | {"n": np.array(7)})


def test_npz_is_read(tmp_path):
    arrays = {"module.a": np.ones(2, ">f8"), "n": np.array(7), "arch": np.array("resnet50")}
    np.savez(tmp_path / "x.npz", **arrays)
    expected = {"a": np.ones(2, "float32"), "n": np.array(7)}
    assert_same(checkpoint.read(tmp_path / "x.npz"), expected)


def test_pickled_objects_in_npz_are_refused_and_nothing_runs(tmp_path):
    marker = tmp_path / "marker"
    np.savez(tmp_path / "x.npz", a=np.zeros(2), evil=np.array([Marker(marker)], dtype=object))
    with pytest.raises(ValueError, match="at evil .*pickled objects, which are never opened"):
        checkpoint.read(tmp_path / "x.npz")
    assert not marker.exists()


def write_torch(path, *, zipped):
    save(path, NESTED, zipped=zipped)


def write_safetensors(path):
    safetensors.numpy.save_file(FLAT, path)


def write_npz(path):
    np.savez(path, **FLAT)


PTH = pytest.param(
    functools.partial(write_torch, zipped=True), ".pth", marks=pytest.mark.torch, id="pth"
)
OLD_PTH = pytest.param(
    functools.partial(write_torch, zipped=False), ".pth", marks=pytest.mark.torch, id="old pth"
)
SAFETENSORS = pytest.param(write_safetensors, ".safetensors", id="safetensors")
NPZ = pytest.param(write_npz, ".npz", id="npz")
KINDS = pytest.mark.parametrize(("write", "suffix"), [PTH, OLD_PTH, SAFETENSORS, NPZ])


@KINDS
def test_a_file_cut_short_anywhere_is_refused_in_one_line(tmp_path, write, suffix):
    path = tmp_path / f"x{suffix}"
    write(path)
    whole = path.read_bytes()
    for length in sorted({*range(0, len(whole), max(1, len(whole) // 40)), len(whole) - 1}):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="Expected a") as caught:
            checkpoint.read(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@KINDS
def test_damage_anywhere_is_refused_in_one_line_or_without_effect_on_the_format(
    tmp_path, write, suffix
):
    """Safetensors and PyTorch's old format keep no checksums: there an array may be another one."""
    path = tmp_path / f"x{suffix}"
    write(path)
    whole = path.read_bytes()
    chance = random.Random(0)
    messages = []
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            checkpoint.read(path)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize(("write", "suffix"), [PTH, NPZ])
def test_a_changed_array_in_an_archive_is_noticed(tmp_path, write, suffix):
    path = tmp_path / f"x{suffix}"
    write(path)
    whole = path.read_bytes()
    array = FLAT["state_dict.encoder.weight"].tobytes()
    assert whole.count(array) == 1
    path.write_bytes(whole.replace(array, array[:-1] + b"\x01"))
    with pytest.raises(ValueError, match="cut short, damaged"):
        checkpoint.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".safetensors", ".npz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: fetch it anew"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page: fetch it anew"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "is the answer of a server"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    ],
)
def test_a_download_that_went_wrong_is_recognised(tmp_path, suffix, content, message):
    (tmp_path / f"x{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=rf"Received: .*x\{suffix}, which {message}"):
        checkpoint.read(tmp_path / f"x{suffix}")


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.pth, which does not exist\."):
        checkpoint.read(tmp_path / "nowhere.pth")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ValueError, match=r"folder\.pth, which is a directory\."):
        checkpoint.read(tmp_path / "folder.pth")
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"ends in \.pth, .*\.npz\. Received: .*x\.png: give it"):
        checkpoint.read(tmp_path / "x.png")
