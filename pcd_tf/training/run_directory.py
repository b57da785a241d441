"""The directory of a run: what it holds, whether it may be resumed, when it is finished."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pcd_tf import atomic, run_config
from pcd_tf.errors import UserError
from pcd_tf.settings import Settings
from pcd_tf.training import lock

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
    | {"num_workers", "show"}
)


class RunDirectory:
    """Opens a new run, or an unfinished one with the same settings.

    A run that left nothing but what is made before its first step is logged has reached nothing:
    it was refused, or ended in that step, so it is begun anew, whatever its settings were.

    Args:
        path: the --workdir.
        job: name of the job.
        config: its settings; written to config.json.
        result: name of the JSON file whose presence marks the run as finished.

    Raises:
        UserError: when the directory holds a finished run, a run with other settings (they are
            named), or something that is no run; when another process is at work in it.
    """

    def __init__(
        self, path: str, job: str, config: Settings, *, result: str = "result.json"
    ) -> None:
        self.path = Path(path)
        self.job = job
        self.result = self.path / result
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.pictures = self.path / "pictures"
        self.metrics = self.path / "metrics.jsonl"
        self._settings = dataclasses.asdict(config)
        self._defaults = {field.name: field.default for field in dataclasses.fields(config)}
        self._lock: lock.Lock | None = None
        lock.refuse_held(self.path)
        self.resumed = self._is_resumable({})

    def create(self, *, remarks: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Makes the directory, keeps other processes from it, and writes config.json.

        Args:
            remarks: what else is worth knowing, JSON values; a run to resume may have others.
            **facts: what else the run depends on (its images, its teacher), JSON values; they stand
                in config.json beside the settings.

        Raises:
            UserError: when a run to resume was begun with other facts; they are named. When
                another process is at work in the directory.
        """
        facts = json.loads(json.dumps(facts))
        self._is_resumable(facts)  # what is refused must not make a lock's file either
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock.hold(self.path)
        self.resumed = self._is_resumable(facts)  # another process may have been here meanwhile
        if self.resumed:
            return
        content = {
            "job": self.job,
            "settings": self._settings,
            **facts,
            **(remarks or {}),
            "versions": {name: metadata.version(name) for name in _PACKAGES}
            | {"python": sys.version.split()[0]},
            "git_revision": _git_revision(),
        }
        atomic.write_json(self.path / run_config.NAME, content)

    def finish(self, **result: Any) -> None:
        """Marks the run as finished, which is the last to be written: it is not trained on."""
        atomic.write_json(self.result, result)
        (self.path / run_config.LOCK).unlink(missing_ok=True)
        self._lock = None

    def _is_resumable(self, facts: dict[str, Any]) -> bool:
        """Whether there is something to go on from; raises a UserError when it is another run's."""
        if not (self.path / run_config.NAME).is_file():
            if run_config.is_new(self.path):
                return False
            raise UserError(
                f"Expected a new or empty directory, or an earlier run. Received: {self.path}, "
                f"which holds something but no {run_config.NAME}. Name another --workdir."
            )
        if self.result.is_file():
            raise UserError(
                f"The run in {self.path} is finished; it is left as it is. Name another --workdir, "
                "or remove this one to repeat the run."
            )
        earlier = run_config.read(self.path)
        if earlier.job != self.job:
            raise UserError(
                f"Expected a {self.job} run to resume. Received: {self.path}, a {earlier.job} "
                "run. Name another --workdir."
            )
        if not any(map(self._is_reached, self.path.iterdir())):
            return False
        now = {name: value for name, value in self._settings.items() if name not in FREE}
        # A setting newer than the run had its default; of a fact newer than it nothing is known.
        now |= {name: value for name, value in facts.items() if name in earlier.facts}
        run_config.refuse_changes(
            self.path,
            self._defaults | earlier.settings | earlier.facts,
            now,
            "or name another --workdir",
        )
        return True

    def _is_reached(self, path: Path) -> bool:
        """Whether something in the directory shows that the run came beyond its start."""
        config = self.path / run_config.NAME
        lock_file = self.path / run_config.LOCK
        files = (config, atomic.temporary_of(config), lock_file)
        if path in (*files, self.tensorboard, self.pictures):
            return False
        return not (path.name.startswith(run_config.ERRORS) or _is_empty(path))


def _is_empty(path: Path) -> bool:
    return not (any(path.iterdir()) if path.is_dir() else path.stat().st_size)


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
