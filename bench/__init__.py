"""Dormouse beside its peers: one interleaved run on one machine. See `make bench`."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in handler.engine.ort: for all that build on it
