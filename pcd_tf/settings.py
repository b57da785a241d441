"""One declaration of a setting, from which its flag, its help and its checks come."""

import dataclasses
import math
import os
import reprlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pcd_tf import errors, plugins
from pcd_tf.errors import UserError

SOURCES = {
    "[paper]": "Huang and Guo, Pixel-Wise Contrastive Distillation, arXiv 2211.00218",
    "[code]": "the public code of its authors",
    "[MoCo v3]": "Chen, Xie and He, arXiv 2104.02057",
    "[MoCo]": "He et al., arXiv 1911.05722: how a backbone is compared by fine-tuning it",
    "[RetinaNet]": "Lin et al., arXiv 1708.02002",
    "[Detectron2]": "its model zoo's configurations, 1x schedule",
    "[ours]": "decided by this project",
}
GROUPS = ("data", "model", "training", "run")
# The units of paths, each with its placeholder in the help; those of a list stand with commas.
PATHS = {
    "directory": "DIRECTORY",
    "path": "PATH",
    "name or path": "NAME_OR_PATH",
    "list of directories": "DIRECTORY,DIRECTORY",
    "list of paths": "PATH,PATH",
    "list of names or paths": "NAME_OR_PATH,NAME_OR_PATH",
}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_NONE = type(None)

# Linux takes paths of 4096 bytes; the names of the files within need some of them.
_LONGEST = 3072
_SHORT = reprlib.Repr()
_SHORT.maxstring = 200

# The settings that do not go together, the one to change first, and what to do.
Conflict = tuple[tuple[str, ...], str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one setting. Made by `setting`, read back by `declared`.

    Args:
        help: what it does, in full sentences.
        group: one of GROUPS, its heading in the help.
        source: where the default comes from, one of SOURCES.
        unit: unit of the value; those in PATHS mark what `~` is expanded in.
        choices: the values allowed, or
        choices_in: the package whose modules are the values allowed.
        minimum, maximum: bounds, both allowed values themselves.
        above: bound that is itself not allowed.
        multiple_of: what the value must be a multiple of.
        reason: why the lower bound, or the multiple, is what it is; for the error message.
        maximum_reason: why the upper bound is what it is, likewise.
        when_none: what an optional setting does when it is not given.
        name, kind, optional, default: filled in from the dataclass by `declared`.
    """

    help: str
    group: str
    source: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    choices_in: str = ""
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    multiple_of: int | None = None
    reason: str = ""
    maximum_reason: str = ""
    when_none: str = ""
    name: str = ""
    kind: type[Any] = str
    optional: bool = False
    default: Any = dataclasses.MISSING

    @property
    def limits(self) -> str:
        """The bounds of a number in words: "at least 1, at most 64"; "" when there are none."""
        limits = [
            None if self.multiple_of is None else f"a multiple of {self.multiple_of}",
            None if self.minimum is None else f"at least {self.minimum:g}",
            None if self.above is None else f"above {self.above:g}",
            None if self.maximum is None else f"at most {self.maximum:.10g}",
        ]
        return ", ".join(filter(None, limits))

    def expanded(self, value: Any) -> Any:
        """Puts the home directory in the place of the `~` that a path begins with."""
        if self.unit not in PATHS or not isinstance(value, str):
            return value
        parts = self._parts(value)
        if not any(part.startswith("~") for part in parts):
            return value  # as it is, with the spaces that a name may begin with
        return ",".join(map(_at_home, parts))

    def problem(self, value: object) -> str | None:
        """Says what is wrong with a value, in one line; None when nothing is."""
        received = "nothing" if value == "" else _SHORT.repr(value)
        if self._allows(value):
            parts = self._parts(value) if isinstance(value, str) and not self.choices else []
            problems = (_problem_of_text(part, is_path=self.unit in PATHS) for part in parts)
            found = next(filter(None, problems), None)
            return f"{self.name}: {found} Received: {received}." if found else None
        hint = plugins.did_you_mean(value, self.choices) if isinstance(value, str) else ""
        text = f"{self.name}: expected {self._expected()}. Received: {received}.{hint}"
        reason = self.maximum_reason if self._is_above_maximum(value) else self.reason
        return f"{text} {reason}".rstrip()

    def _parts(self, value: str) -> list[str]:
        # The name of one directory may hold a comma.
        if not self.unit.startswith("list of ") or os.path.exists(value):  # noqa: PTH110 - any text
            return [value]
        return [part.strip() for part in value.split(",")]

    def _allows(self, value: Any) -> bool:
        if value is None:
            return self.optional
        accepted = (int, float) if self.kind is float else self.kind
        if not isinstance(value, accepted) or isinstance(value, bool) != (self.kind is bool):
            return False
        if isinstance(value, str):
            return value in self.choices if self.choices else bool(value.strip())
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (self.minimum is None or value >= self.minimum)
            and not self._is_above_maximum(value)
            and (self.above is None or value > self.above)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def _is_above_maximum(self, value: Any) -> bool:
        is_number = isinstance(value, (int, float))
        return is_number and self.maximum is not None and value > self.maximum

    def _expected(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind is str:
            return f"a {self.unit or 'text'}"
        return f"{_KINDS[self.kind]}, {self.limits}".removesuffix(", ")


def setting(default: Any = dataclasses.MISSING, **details: Any) -> Any:
    """Declares a field of a Config; the details are those of `Setting`.

    Without a default, each job that inherits the field gives its own by `with_default`.

    Example:
        seed: int = setting(0, help="Start of all randomness.", group="run", source="[ours]")
    """
    return _field(Setting(default=default, **details))


def with_default(
    config_class: type, name: str, default: Any, *, source: str, **changes: Any
) -> Any:
    """Takes over an inherited setting with a default, and a source, of its own.

    Example:
        learning_rate: float = with_default(TrainingConfig, "learning_rate", 1.0, source="[code]")
    """
    inherited = next(entry for entry in declared(config_class) if entry.name == name)
    return _field(dataclasses.replace(inherited, default=default, source=source, **changes))


def declared(config_class: type) -> tuple[Setting, ...]:
    """Lists the settings of a Config class, by group, in the order they are declared in."""
    hints = typing.get_type_hints(config_class)
    found = [_filled(field, hints[field.name]) for field in dataclasses.fields(config_class)]
    return tuple(sorted(found, key=lambda entry: GROUPS.index(entry.group)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What every job's Config is: a frozen dataclass that checks itself without TensorFlow."""

    def __post_init__(self) -> None:
        for entry in declared(type(self)):
            # As a frozen dataclass sets its own fields.
            object.__setattr__(self, entry.name, entry.expanded(getattr(self, entry.name)))

    @errors.translated()
    def validate(self) -> None:
        """Checks every setting, and what lies between them.

        Raises:
            UserError: names all problems at once.
        """
        entries = declared(type(self))
        problems = {entry.name: entry.problem(getattr(self, entry.name)) for entry in entries}
        lines = [line for line in problems.values() if line]
        # Conflicts are looked for with defaults in place of what is wrong by itself.
        wrong = {entry.name: entry.default for entry in entries if problems[entry.name]}
        for names, text in dataclasses.replace(self, **wrong).conflicts():
            if wrong.keys().isdisjoint(names):
                lines.append(f"{names[0]}: {text}")
        if lines:
            count = "1 setting" if len(lines) == 1 else f"{len(lines)} settings"
            raise UserError("\n  ".join([f"{count} cannot work:", *lines]))

    def conflicts(self) -> Iterator[Conflict]:
        """Yields what is wrong between settings, or with the files that they name.

        Called with values that are each allowed, so that a rule needs no care of its own.
        """
        yield from ()


def _at_home(path: str) -> str:
    if not path.startswith("~"):  # Path would take one slash of an address such as hf://NAME
        return path
    try:
        return str(Path(path).expanduser())
    except (RuntimeError, ValueError):  # no such user, a zero byte: for `validate` to say
        return path


def _problem_of_text(text: str, *, is_path: bool) -> str | None:
    """Says what no setting can use in a text; of a path, whether it can be looked up at all."""
    # A byte that is no UTF-8 would do for Python, but not for TensorFlow, which writes there.
    if "\n" in text or errors.printable(text) != text:
        remedy = " Rename it, or name a link to it." if is_path else ""
        return f"expected a text in UTF-8 without control characters.{remedy}"
    if len(os.fsencode(text)) > _LONGEST:
        return f"expected a text of at most {_LONGEST} bytes."
    if not is_path:
        return None
    if text.startswith("~"):
        return f"there is no user {text[1:].partition('/')[0]!r}. Write ./~ for a name with a ~."
    try:
        Path(text).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None  # whether it has to be there is for the job to say
    except OSError as error:
        return f"cannot be looked up: {error.strerror}."
    return None


def _field(entry: Setting) -> Any:
    if entry.source not in SOURCES or entry.group not in GROUPS:
        raise ValueError(
            f"Expected a source of {', '.join(SOURCES)} and a group of {', '.join(GROUPS)}. "
            f"Received: {entry.source!r} and {entry.group!r}."
        )
    return dataclasses.field(default=entry.default, metadata={"setting": entry})


def _filled(field: "dataclasses.Field[Any]", annotation: Any) -> Setting:
    """Completes a declaration with what the dataclass knows of the field."""
    kinds = [kind for kind in typing.get_args(annotation) or (annotation,) if kind is not _NONE]
    entry: Setting = field.metadata["setting"]
    return dataclasses.replace(
        entry,
        name=field.name,
        kind=kinds[0],
        optional=_NONE in typing.get_args(annotation),
        choices=plugins.names(entry.choices_in) if entry.choices_in else entry.choices,
    )
