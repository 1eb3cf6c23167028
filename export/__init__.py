"""The build machine: models into bundles. Shares `handler.engine` with what runs, and nothing else."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in handler.engine.ort, and before any import of it
