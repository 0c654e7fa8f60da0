"""Optional packages, imported when they are first needed; the error names the extra to install."""

from __future__ import annotations

import importlib
from types import ModuleType

from striate.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        module: its name, such as `"onnx.helper"`.
        extra: the extra of Striate that brings it.

    Raises:
        MissingExtraError: the package is not installed, or it is broken.

    Example:
        >>> require("nowhere_to_be_found", extra="zoo")
        Traceback (most recent call last):
        striate.errors.MissingExtraError: This needs nowhere_to_be_found, which is not installed: pip install ...
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except Exception as error:  # compiled packages that do not fit each other raise anything
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise MissingExtraError(
                f"This needs {package}, which is not installed: pip install 'striate[{extra}]'"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingExtraError(
            f"{package} is installed, but cannot be imported: {reason}. Install it again with what it needs: "
            f"pip install --upgrade 'striate[{extra}]'"
        ) from error
