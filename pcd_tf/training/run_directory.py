"""The directory of a run: what it holds, whether it may be resumed, when it is finished."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pcd_tf import atomic
from pcd_tf.errors import UserError
from pcd_tf.settings import Settings

_CONFIG = "config.json"
_PACKAGES = (
    "tensorflow",
    "keras",
    "keras-hub",
    "keras-cv",
    "tf-models-official",
    "tf_keras",
    "pycocotools",
    "numpy",
)
# Settings that may change when a run is resumed: they change how it runs, not what it computes.
FREE = frozenset(
    {"workdir", "log_every_steps", "checkpoint_every_steps", "strategy", "num_virtual_devices"}
)


class RunDirectory:
    """Opens a new run, or an unfinished one with the same settings.

    Args:
        path: the --workdir.
        job: name of the job.
        config: its settings; written to config.json.
        result: name of the JSON file whose presence marks the run as finished.

    Raises:
        UserError: when the directory holds a finished run, a run with other settings (they are
            named), or something that is no run.
    """

    def __init__(
        self, path: str, job: str, config: Settings, *, result: str = "result.json"
    ) -> None:
        self.path = Path(path)
        self.job = job
        self.result = self.path / result
        self._settings = dataclasses.asdict(config)
        self._defaults = {field.name: field.default for field in dataclasses.fields(config)}
        self.resumed = (self.path / _CONFIG).is_file()
        if self.resumed:
            self._check_same()
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(
                f"Expected a new or empty directory, or an earlier run. Received: {self.path}, "
                f"which holds something but no {_CONFIG}. Name another --workdir."
            )
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.pictures = self.path / "pictures"
        self.metrics = self.path / "metrics.jsonl"

    def create(self, *, remarks: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Makes the directory and writes config.json.

        Args:
            remarks: what else is worth knowing, JSON values; a run to resume may have others.
            **facts: what else the run depends on (its images, its teacher), JSON values; they stand
                in config.json beside the settings.

        Raises:
            UserError: when a run to resume was begun with other facts; they are named.
        """
        facts = json.loads(json.dumps(facts))
        if self.resumed:
            self._refuse_changes(_read_config(self.path / _CONFIG), facts)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        content = {
            "job": self.job,
            "settings": self._settings,
            **facts,
            **(remarks or {}),
            "versions": {name: metadata.version(name) for name in _PACKAGES}
            | {"python": sys.version.split()[0]},
            "git_revision": _git_revision(),
        }
        atomic.write_json(self.path / _CONFIG, content)

    def finish(self, **result: Any) -> None:
        """Marks the run as finished: a finished run is not trained on."""
        atomic.write_json(self.result, result)

    def _check_same(self) -> None:
        if self.result.is_file():
            raise UserError(
                f"The run in {self.path} is finished; it is left as it is. Name another --workdir, "
                "or remove this one to repeat the run."
            )
        earlier = _read_config(self.path / _CONFIG)
        if earlier["job"] != self.job:
            raise UserError(
                f"Expected a {self.job} run to resume. Received: {self.path}, a {earlier['job']} "
                "run. Name another --workdir."
            )
        self._refuse_changes(
            self._defaults | earlier["settings"],  # a setting newer than the run had its default
            {name: value for name, value in self._settings.items() if name not in FREE},
        )

    def _refuse_changes(self, earlier: dict[str, Any], now: dict[str, Any]) -> None:
        different = [
            f"{name}: {earlier.get(name)!r} there, {value!r} now"
            for name, value in now.items()
            if earlier.get(name) != value
        ]
        if different:
            raise UserError(
                f"The unfinished run in {self.path} is another one; it cannot be resumed:\n  "
                + "\n  ".join(different)
                + "\nMake these the same, or name another --workdir."
            )


def _read_config(path: Path) -> dict[str, Any]:
    """Reads a run's config.json; many other things have a file of this name as well."""
    try:
        content = json.loads(path.read_text())
    except ValueError:
        content = None
    if not isinstance(content, dict) or not {"job", "settings"} <= content.keys():
        raise UserError(
            f"Expected a new or empty directory, or an earlier run. Received: {path.parent}, whose "
            f"{path.name} is not that of a run. Name another --workdir."
        )
    return content


def _git_revision() -> str | None:
    """The project's commit, with -dirty when files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
