"""Where a container finds itself: the platform, its port and its model, and who may come in there."""

from __future__ import annotations

from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from handler import container
from handler.access import open_keys
from handler.errors import SettingsError, StartupError
from handler.key_file import KeyFile
from handler.keys import KeyRecord, new_key
from handler.platforms import SAGEMAKER_MODEL, Platform, mounted_bundle, port, recognise
from handler.settings import read_settings
from infra.key_stores import FileKeys
from tests.loopback import serving

SAGEMAKER = recognise({}, ["serve"])
CLOUD_RUN = recognise({"K_SERVICE": "dormouse", "PORT": "8080"}, [])
CONTAINER_APPS = recognise({"CONTAINER_APP_NAME": "dormouse"}, [])
AZURE_ML = recognise({"AZUREML_MODEL_DIR": "/var/azureml-app/azureml-models/m/1"}, [])


@pytest.fixture
def file(tmp_path: Path) -> str:
    path, key = tmp_path / "keys.json", new_key()
    FileKeys(path).add(KeyRecord(key.id, key.sha256, "alice", 1))
    return str(path)


def known(platform: Platform | None) -> Platform:
    """A platform that has been recognised."""
    assert platform is not None
    return platform


def test_platforms_are_told_apart() -> None:
    """Each by what it alone sets; where nobody sets anything there is none."""
    names = [known(each).name for each in (SAGEMAKER, CLOUD_RUN, CONTAINER_APPS, AZURE_ML)]
    assert names == ["SageMaker", "Cloud Run", "Container Apps", "Azure ML"]
    assert recognise({"PORT": "8080", "PATH": "/bin"}, []) is None


def test_the_port_is_the_platforms() -> None:
    """8080, or what PORT says; Azure ML's servers listen on 5001."""
    assert [port({}, each) for each in (None, SAGEMAKER, CLOUD_RUN, AZURE_ML)] == [8080, 8080, 8080, 5001]
    assert port({"PORT": "9000"}, AZURE_ML) == 9000
    for wrong in ("http", "-1", "65536", "８０"):
        with pytest.raises(StartupError, match="PORT"):
            port({"PORT": wrong}, None)


def test_a_mounted_model_is_found(tmp_path: Path) -> None:
    """In the folder itself or in the one below it; an empty folder, or none, leaves the image's own."""
    platform = replace(known(AZURE_ML), model=tmp_path)
    assert mounted_bundle(platform) is None
    assert mounted_bundle(replace(platform, model=tmp_path / "none")) is None
    (tmp_path / "smollm2").mkdir()
    with pytest.raises(StartupError, match="0 bundles"):
        mounted_bundle(platform)
    (tmp_path / "smollm2/bundle.json").touch()
    assert mounted_bundle(platform) == tmp_path / "smollm2"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/bundle.json").touch()
    with pytest.raises(StartupError, match="2 bundles"):
        mounted_bundle(platform)
    (tmp_path / "bundle.json").touch()
    assert mounted_bundle(platform) == tmp_path
    assert known(SAGEMAKER).model == SAGEMAKER_MODEL == Path("/opt/ml/model")
    assert mounted_bundle(None) is None


@pytest.mark.parametrize("platform", [SAGEMAKER, CLOUD_RUN, CONTAINER_APPS, AZURE_ML])
def test_a_platform_is_trusted_only_when_told_to(platform: Platform) -> None:
    """Without the setting no platform opens the door; with it none asks for a key of ours."""
    with pytest.raises(StartupError, match="DORMOUSE_KEYS=platform"):
        open_keys("", "0.0.0.0", platform)
    assert open_keys("platform", "0.0.0.0", platform) is None


@pytest.mark.parametrize(("host", "platform"), [("0.0.0.0", None), ("127.0.0.1", CLOUD_RUN), ("::1", None)])
def test_trust_in_nothing_is_refused(host: str, platform: Platform | None) -> None:
    """`platform` where none is known, or where nobody can come in but this machine, is a mistake."""
    with pytest.raises(StartupError, match="'platform'"):
        open_keys("platform", host, platform)


@pytest.mark.parametrize("platform", [None, CLOUD_RUN, CONTAINER_APPS, AZURE_ML])
def test_keys_of_our_own_can_be_asked_for_anywhere(file: str, platform: Platform | None) -> None:
    """Wherever a caller's Authorization header arrives."""
    assert isinstance(open_keys(file, "0.0.0.0", platform), KeyFile)


def test_keys_that_nobody_could_send_are_refused(file: str) -> None:
    """SageMaker keeps the Authorization header: behind it a file of keys would let nobody in."""
    with pytest.raises(StartupError, match="would arrive"):
        open_keys(file, "0.0.0.0", SAGEMAKER)


def test_loopback_asks_for_nothing() -> None:
    """And for keys, where a file is given."""
    assert open_keys("", "127.0.0.1", None) is None
    with pytest.raises(StartupError, match="No such file"):
        open_keys("/nowhere/keys.json", "127.0.0.1", None)


def test_a_ping_takes_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container's health is not asked for by way of the proxy that its environment names."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ping" else 404)
            self.end_headers()

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens
    with serving(Healthy) as address:
        monkeypatch.setenv("PORT", address.rpartition(":")[2])
        assert container.main(["ping"]) == 0


def test_in_lambda_keys_are_not_ours_to_ask_for() -> None:
    """The authorizer does: a setting that nobody would look at is refused."""
    with pytest.raises(SettingsError, match="DORMOUSE_KEYS"):
        read_settings({"DORMOUSE_KEYS": "platform", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"})
