"""Optional packages, imported on first use, so that the core stays small and starts fast."""

from __future__ import annotations

import importlib
from types import ModuleType

from striate.errors import MissingExtraError


def optional(module: str, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or say which extra installs it.

    >>> optional("no_such_package", extra="export", purpose="Writing ONNX")
    Traceback (most recent call last):
    striate.errors.MissingExtraError: Writing ONNX needs the package 'no_such_package': pip install "striate[export]"
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise MissingExtraError(f'{purpose} needs the package {package!r}: pip install "striate[{extra}]"') from error
