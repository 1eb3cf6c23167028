"""The build machine: models into bundles.

Of what runs it uses the engine, the errors and the prices; besides, `infra.artifact` for Lambda's limits, and
`bench` to measure speed. It knows nothing of requests, routes and stores.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as in handler.engine.ort, and before any import of it
