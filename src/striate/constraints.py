from typing import Any


def get(identifier: Any) -> Any:
    return identifier
