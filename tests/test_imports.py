"""Imports run one way, heavy libraries stand where they belong, package faces are light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pcd_tf

ROOT = Path(__file__).resolve().parents[1]

# A file may import only from groups above its own.
GROUPS = [
    "pcd_tf.errors",
    "pcd_tf.plugins pcd_tf.atomic pcd_tf.files pcd_tf.outside",
    "pcd_tf.digests pcd_tf.records",
    "pcd_tf.settings pcd_tf.run_config pcd_tf.checkpoint_files",
    "pcd_tf.layers pcd_tf.losses pcd_tf.negatives pcd_tf.correspondence pcd_tf.optimizers "
    "pcd_tf.schedules pcd_tf.metrics pcd_tf.resampling pcd_tf.replicas",
    "pcd_tf.weights pcd_tf.backbones pcd_tf.normalisation",
    "pcd_tf.teachers pcd_tf.students pcd_tf.data pcd_tf.objectives",
    "pcd_tf.inits pcd_tf.evaluation",
    "pcd_tf.models pcd_tf.detectors pcd_tf.segmenters",
    "pcd_tf.probes",
    "pcd_tf.configs",
    "pcd_tf.training",
    "pcd_tf.jobs",
    "export",
    "flags",
    "main",
]
RANK = {package: rank for rank, group in enumerate(GROUPS) for package in group.split()}
# What the files of a package share.
SHARED = {
    "pcd_tf.configs.training",
    "pcd_tf.jobs.finetune",  # compare runs it
    "pcd_tf.training.checkpoints",
    "pcd_tf.training.interrupts",
    "pcd_tf.training.lock",
    "pcd_tf.training.logs",
    "pcd_tf.weights.bounds",
    "flags.common",
}

# Where a library may be imported; everywhere when it is not named here.
PLACES = {
    "absl": ("flags", "main"),
    "official": ("pcd_tf.detectors.mask_rcnn",),
    "tensorflow": (
        "pcd_tf.checkpoint_files",
        "pcd_tf.data",
        "pcd_tf.models",
        "pcd_tf.replicas",
        "pcd_tf.training",
        "pcd_tf.detectors",
        "pcd_tf.segmenters",
        "pcd_tf.probes",
        "export",
    ),
    "tensorflow_datasets": ("pcd_tf.data",),
    "tf_keras": ("pcd_tf.detectors.mask_rcnn",),
    "torch": ("pcd_tf.weights",),
}


def sources() -> dict[str, str]:
    """The code of every module of the project, by dotted name."""
    files = [ROOT / "main.py"]
    for folder in ("pcd_tf", "export", "flags"):
        files += (ROOT / folder).rglob("*.py")
    return {module_name(file): file.read_text(encoding="utf-8") for file in files}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(code: str, modules: set[str]) -> Iterator[tuple[str, bool]]:
    """Yields every module that the code imports, and whether it does so inside a function."""
    tree = ast.parse(code)
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in inside
        elif isinstance(node, ast.ImportFrom):
            package = "." * node.level + (node.module or "")
            for alias in node.names:
                full = f"{package}.{alias.name}"
                yield full if full in modules else package, id(node) in inside


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2]) if module.startswith("pcd_tf.") else module.split(".")[0]


def violations(code_by_module: dict[str, str]) -> list[str]:
    modules = set(code_by_module)
    found = []
    for module, code in code_by_module.items():
        for target, in_function in imported(code, modules):
            reason = why_not(module, target, in_function)
            if reason:
                found.append(f"{module} imports {target}: {reason}")
    return found


def why_not(module: str, target: str, in_function: bool) -> str | None:
    library = target.split(".")[0]
    if target.startswith("."):
        return "imports are absolute"
    if library in PLACES:
        if not any(f"{module}.".startswith(f"{place}.") for place in PLACES[library]):
            return f"{library} stands only in {', '.join(PLACES[library])}"
        if library == "torch" and not in_function:
            return "torch is imported inside the function that needs it"
    own, other = package_of(module), package_of(target)
    if other not in RANK or module == "pcd_tf":
        return None
    if own == other:
        is_shared = target in SHARED or target.split(".")[-1].startswith("_")
        is_face = own in (module, target)
        return None if is_shared or is_face else "files of one package do not import each other"
    if target.split(".")[-1].startswith("_"):
        return "it is private to its package"
    return None if RANK[other] < RANK[own] else "imports run one way"


def test_imports_of_the_project_run_one_way():
    assert violations(sources()) == []


def test_every_module_has_its_place_in_the_order():
    assert {package_of(module) for module in sources()} - RANK.keys() == {"pcd_tf"}


@pytest.mark.parametrize(
    ("module", "code", "reason"),
    [
        ("pcd_tf.layers.mhsa", "from pcd_tf import models", "one way"),
        ("pcd_tf.layers.mhsa", "import pcd_tf.models.distiller", "one way"),
        ("pcd_tf.layers.mhsa", "def f():\n    from pcd_tf.models import Distiller", "one way"),
        ("pcd_tf.layers.mhsa", "from pcd_tf.losses import PixelContrastiveLoss", "one way"),
        ("pcd_tf.layers.mhsa", "from pcd_tf.layers.photometric import Photometric", "each other"),
        ("pcd_tf.layers.mhsa", "from . import photometric", "absolute"),
        ("pcd_tf.layers.mhsa", "import tensorflow as tf", "tensorflow stands only"),
        ("pcd_tf.jobs.distill", "from pcd_tf.data import _source", "private"),
        ("pcd_tf.jobs.distill", "import flags", "one way"),
        ("pcd_tf.jobs.distill", "from absl import logging", "absl stands only"),
        ("pcd_tf.weights.pytorch", "import torch", "inside the function"),
        ("pcd_tf.teachers.moco_v3", "def f():\n    import torch", "torch stands only"),
        ("pcd_tf.detectors.retinanet", "import tf_keras", "tf_keras stands only"),
        ("flags.distill", "from flags.export import JOB", "each other"),
    ],
)
def test_a_wrong_import_is_found(module, code, reason):
    known = {
        "pcd_tf.data._source",
        "pcd_tf.layers.photometric",
        "pcd_tf.models",
        "pcd_tf.models.distiller",
    }
    (found,) = violations({module: code, **dict.fromkeys(known, "")})
    assert reason in found


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("pcd_tf.models.distiller", "from pcd_tf import layers\nimport tensorflow as tf"),
        ("pcd_tf.data.folder", "from pcd_tf.data import _source"),
        ("pcd_tf.layers", "from pcd_tf.layers.mhsa import MHSA"),
        ("pcd_tf.configs.distill", "from pcd_tf.configs.training import TrainingConfig"),
        ("pcd_tf.weights.pytorch", "def f():\n    import torch"),
        ("pcd_tf.jobs.distill", "from pcd_tf import __version__\nimport numpy as np"),
    ],
)
def test_a_right_import_is_left_alone(module, code):
    assert violations({module: code, "pcd_tf.data._source": "", "pcd_tf.layers.mhsa": ""}) == []


def test_faces_and_flags_import_no_heavy_library():
    code = """
import importlib, sys
for name in ("pcd_tf", "pcd_tf.configs", "export", "main"):
    importlib.import_module(name)
for name in ("teachers", "students", "data"):
    importlib.import_module(f"pcd_tf.{name}").names()
import flags
flags.overview()
for name in flags.names():
    flags.help_of(flags.job(name))
heavy = {"keras", "keras_hub", "matplotlib", "tensorflow", "tensorflow_datasets", "torch"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", pcd_tf.__all__)
def test_public_names_are_there(name):
    assert getattr(pcd_tf, name) is not None
    assert name in dir(pcd_tf)


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'pcd_tf' has no attribute 'Distillr'"):
        pcd_tf.Distillr  # noqa: B018
