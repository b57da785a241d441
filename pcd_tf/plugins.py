"""A folder of modules as the choices of a flag: one file adds one choice."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from pcd_tf.errors import UserError


def names(package_name: str) -> tuple[str, ...]:
    """Lists the choices in a package: its modules, sorted, without those that start with `_`.

    Nothing in the package but its own `__init__` is imported.

    Example:
        names("pcd_tf.students")  # ("resnet18", "resnet34", "resnet50")
    """
    package = importlib.import_module(package_name)
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in found if not name.startswith("_")))


def load(package_name: str, name: str) -> ModuleType:
    """Imports the module that is the choice `name` of a package.

    Raises:
        UserError: when the package has no such module; lists the choices and the nearest one.

    Example:
        load("pcd_tf.students", "resnet18").build()
    """
    choices = names(package_name)
    if name not in choices:
        raise UserError(
            f"Expected one of {package_name}: {', '.join(choices)}. "
            f"Received: {name!r}.{did_you_mean(name, choices)}"
        )
    return importlib.import_module(f"{package_name}.{name}")


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Finds the choice spelled most like `name`, whatever its case; None when none is close."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[close[0]] if close else None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the end of an error message; "" when nothing is close."""
    close = nearest(name, choices)
    return f" Did you mean {close!r}?" if close else ""
