"""`python -m tests.e2e.page.slow_server`: `handler.local`, each step of whose model takes 20 ms at least."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from handler.engine.ort import OrtCache, OrtModel
from handler.local import main

STEP_S = 0.02


_forward = OrtModel.forward


def slowly(model: OrtModel, ids: Sequence[int], cache: OrtCache, rows: int = 1) -> Any:
    """Wait, and compute."""
    time.sleep(STEP_S)
    return _forward(model, ids, cache, rows)


if __name__ == "__main__":
    OrtModel.forward = slowly  # type: ignore[method-assign]
    sys.exit(main())
