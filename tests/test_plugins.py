"""A folder of modules as choices."""

import sys

import pytest

from pcd_tf import plugins


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two choices, a private module, and one that fails when it is imported."""
    folder = tmp_path / "some_choices"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "square.py").write_text("def build():\n    return 4\n")
    (folder / "circle.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_shape.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_choices"
    for name in [name for name in sys.modules if name.split(".")[0] == "some_choices"]:
        del sys.modules[name]


def test_names_are_sorted_public_and_not_imported(package):
    assert plugins.names(package) == ("circle", "square")


def test_load_imports_the_choice(package):
    assert plugins.load(package, "square").build() == 4


def test_load_of_an_unknown_name_lists_the_choices_and_the_nearest(package):
    message = r"one of some_choices: circle, square. Received: 'Squar'. Did you mean 'square'\?"
    with pytest.raises(ValueError, match=message):
        plugins.load(package, "Squar")


@pytest.mark.parametrize("name", ["_shape", "__init__", "", "os.path"])
def test_load_of_what_is_no_choice_is_refused(package, name):
    with pytest.raises(ValueError, match="Expected one of"):
        plugins.load(package, name)


def test_an_error_inside_a_choice_is_not_hidden(package):
    with pytest.raises(RuntimeError, match="imported"):
        plugins.load(package, "circle")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet81", "resnet18"), ("ResNet-18", "resnet18"), ("vit", None), ("", None)],
)
def test_nearest(name, expected):
    assert plugins.nearest(name, ["resnet18", "mobilenet"]) == expected


def test_did_you_mean_is_empty_when_nothing_is_near():
    assert plugins.did_you_mean("vit", ["resnet18"]) == ""
