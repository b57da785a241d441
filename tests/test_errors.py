"""What a user can put right gets the project's words; bugs pass through."""

import errno
import importlib

import pytest
import tensorflow as tf

from pcd_tf import data, errors
from pcd_tf.errors import UserError


def raised_in_a_stream(error):
    def fail(number):
        raise error

    numbers = tf.data.Dataset.range(1)
    return next(iter(numbers.map(lambda x: tf.numpy_function(fail, [x], tf.int64)).prefetch(1)))


@pytest.mark.parametrize("kind", [UserError, data.DecodeError])
def test_what_a_stream_raises_keeps_its_own_words(kind):
    words = "Cannot decode a.jpg: it is\nno image."
    with pytest.raises(UserError) as caught, errors.translated():
        raised_in_a_stream(kind(words))
    assert str(caught.value) == words


def test_what_is_raised_while_a_step_is_traced_keeps_its_own_words():
    @tf.function
    def step():
        raise UserError("Expected a map.")

    with pytest.raises(UserError) as caught, errors.translated():
        step()
    assert str(caught.value) == "Expected a map."


def test_a_bug_in_a_stream_stays_a_bug():
    with pytest.raises(tf.errors.InvalidArgumentError), errors.translated():
        raised_in_a_stream(ValueError("shapes"))


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "failed to allocate 4GiB\nand more"),
        tf.errors.InternalError(None, None, "RESOURCE_EXHAUSTED: Out of memory while trying"),
        tf.errors.UnknownError(None, None, "Out of memory while trying to allocate 3 bytes."),
        # TensorFlow's own allocator; XLA's program, too large to be loaded (its issue 60607).
        tf.errors.ResourceExhaustedError(
            None, None, "{{function_node x}} OOM when allocating tensor with shape[64,64,56,56]"
        ),
        tf.errors.InternalError(
            None, None, "Failed to load in-memory CUBIN: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
        ),
        MemoryError("Unable to allocate 8. GiB"),
    ],
)
def test_memory_that_runs_out_has_one_message(error):
    with (
        pytest.raises(UserError, match="too little memory. Use a smaller batch"),
        errors.translated(),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "runs/metrics.jsonl"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        tf.errors.ResourceExhaustedError(None, None, "runs/step-7; No space left on device"),
        tf.errors.UnknownError(None, None, "runs/step-7; Disk quota exceeded"),
    ],
)
def test_a_full_disk_has_one_message(error):
    with (
        pytest.raises(UserError, match=r"(?s)The disk is full, .*same command then goes on"),
        errors.translated(),
    ):
        raise error


def test_a_package_that_is_missing_is_named_with_the_remedy():
    with (
        pytest.raises(UserError, match="package numby is not installed: pip install -r requirem"),
        errors.translated(),
    ):
        importlib.import_module("numby")


@pytest.mark.parametrize("module", ["pcd_tf.no_such", "flags.no_such"])
def test_a_module_of_ours_that_is_missing_is_a_bug(module):
    with pytest.raises(ModuleNotFoundError), errors.translated():
        importlib.import_module(module)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("two\nlines, Öl 窯 👩\u200d🍳", "two\nlines, Öl 窯 👩\u200d🍳"),
        ("\x1b[2J\x07\r\x7f\x9b", r"\x1b[2J\x07\r\x7f\x9b"),
        ("gpj\u202e.exe\u2066\u2028", r"gpj\u202e.exe\u2066\u2028"),
        ("a\udcff\0", r"a\udcff\x00"),
    ],
)
def test_a_text_for_the_terminal_holds_nothing_that_steers_it(text, expected):
    assert errors.printable(text) == expected


def test_a_full_disk_is_told_of_libraries_in_other_languages():
    error = type("SafetensorError", (Exception,), {})("I/O error: File too large (os error 27)")
    with pytest.raises(UserError, match="The disk is full, "), errors.translated():
        raise error


def test_what_tensorflow_says_of_a_file_names_it(tmp_path):
    records = tf.data.TFRecordDataset(str(tmp_path / "gone"))
    with (
        pytest.raises(UserError, match=r"Cannot use .*/gone: No such file or directory\. Is its"),
        errors.translated(),
    ):
        next(iter(records))
    (tmp_path / "damaged").write_bytes(b"x" * 100)
    records = tf.data.TFRecordDataset(str(tmp_path / "damaged"))
    with pytest.raises(UserError, match="damaged: corrupted record at 0"), errors.translated():
        next(iter(records))


def test_an_operation_that_is_not_found_is_a_bug():
    error = tf.errors.NotFoundError(None, None, "No registered 'X' OpKernel for GPU devices")
    assert errors.explanation(error) is None


def test_an_error_of_the_system_names_its_file():
    with pytest.raises(UserError, match="Permission denied: '/etc/x'"), errors.translated():
        raise PermissionError(errno.EACCES, "Permission denied", "/etc/x")


@pytest.mark.parametrize("error", [ValueError("shapes"), OSError("no file"), KeyError("x")])
def test_a_bug_passes_through(error):
    with pytest.raises(type(error)) as caught, errors.translated():
        raise error
    assert caught.value is error
