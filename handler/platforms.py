"""What stands around a container: how each platform is recognised, and what it asks of us, as data.

The only file that knows their variables. Knows no sockets and no models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from handler.errors import StartupError

PORT = 8080
SERVE = "serve"
SAGEMAKER_MODEL = Path("/opt/ml/model")
MANIFEST = "bundle.json"


@dataclass(frozen=True)
class Platform:
    """One of them; the limits are those it has, or has by default: settings go before them."""

    name: str
    identity: str
    """What it asks callers for, where it is told to."""
    timeout_s: int
    stream_timeout_s: int
    port: int = PORT
    model: Path | None = None
    """Where it mounts a model."""
    hides_authorization: bool = False
    """It keeps the caller's `Authorization` to itself, so that a key of ours would never arrive."""


def is_lambda(environment: Mapping[str, str]) -> bool:
    """Whether this is an execution environment of Lambda.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    return "AWS_LAMBDA_RUNTIME_API" in environment


def recognise(environment: Mapping[str, str], arguments: Sequence[str]) -> Platform | None:
    """Which platform has started this process; None where it is none of them.

    Sources: https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html
    https://cloud.google.com/run/docs/container-contract
    https://learn.microsoft.com/azure/container-apps/environment-variables
    https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container
    """
    if list(arguments) == [SERVE]:
        return Platform("SageMaker", "IAM", 60, 480, model=SAGEMAKER_MODEL, hides_authorization=True)
    if "K_SERVICE" in environment:
        return Platform("Cloud Run", "IAM", 300, 300)
    if "CONTAINER_APP_NAME" in environment:
        return Platform("Container Apps", "its own authentication", 240, 240)
    if folder := environment.get("AZUREML_MODEL_DIR"):
        return Platform("Azure ML", "the endpoint's key", 180, 180, port=5001, model=Path(folder))
    return None


def parse_port(text: str) -> int:
    """Read a port. Raises: ValueError."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port number from 0 to 65535")
    return int(text)


def port(environment: Mapping[str, str], platform: Platform | None) -> int:
    """Where requests come in: `PORT`, where it is set. Raises: StartupError."""
    text = environment.get("PORT")
    try:
        return parse_port(text) if text else platform.port if platform else PORT
    except ValueError as error:
        raise StartupError(f"PORT: {error}") from None


def mounted_bundle(platform: Platform | None) -> Path | None:
    """The bundle that the platform has mounted: in that folder, or in a folder in it; None where nothing is.

    Raises: StartupError where what is mounted is no bundle, or more than one.
    """
    folder = platform.model if platform else None
    if platform is None or folder is None or not folder.is_dir() or not any(folder.iterdir()):
        return None
    if (folder / MANIFEST).is_file():
        return folder
    found = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
    if len(found) != 1:
        raise StartupError(f"{platform.name} has mounted {len(found)} bundles in {folder} instead of one")
    return found[0]
