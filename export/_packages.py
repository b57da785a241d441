"""Whether the packages that a format needs are installed: asked before any long work."""

import importlib.util
import re
from collections.abc import Sequence

from pcd_tf.errors import UserError


def require(requirements: Sequence[str], format_name: str) -> None:
    """Raises a UserError with the pip command when a package is missing.

    Args:
        requirements: as pip takes them, "ai-edge-litert>=2,<3"; imported by the same name.
        format_name: the format that needs them, for the error.
    """
    missing = [text for text in requirements if not importlib.util.find_spec(_module(text))]
    if missing:
        quoted = " ".join(f"'{text}'" for text in missing)
        raise UserError(
            f"Expected the packages of --format={format_name}. Received: an environment without "
            f"{', '.join(_module(text) for text in missing)}. Run: pip install {quoted}"
        )


def _module(requirement: str) -> str:
    return re.split(r"[<>=~! ]", requirement, maxsplit=1)[0].replace("-", "_")
