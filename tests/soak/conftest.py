"""What takes long runs only when it is asked for by its path."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out this folder unless an argument names it."""
    return None if any("soak" in argument for argument in config.args) else True
