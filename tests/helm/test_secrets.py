"""API keys and certificates: existing or created Secrets, and their path to the service."""

import re
from base64 import b64decode
from typing import Any

import pytest
import yaml
from cloudcoil.models.cert_manager.v1 import Certificate

from charts import CHART, SCENARIOS, Rendered, refusal, render

PEM = {"certificate": "-----BEGIN C", "key": "-----BEGIN K"}


def secret_of(made: Rendered, mount: str) -> Any:
    """The Secret mounted at this path of the service."""
    (name,) = [m["name"] for m in made.server()["volumeMounts"] if m["mountPath"] == mount]
    (volume,) = [v for v in made.pod()["volumes"] if v["name"] == name]
    return volume["secret"]["secretName"]


def test_without_keys_and_certificates_there_are_none() -> None:
    settings = render().settings()["security"]
    assert settings == {
        "api_keys": [],
        **dict.fromkeys(("api_keys_file", "tls_cert", "tls_key", "tls_client_ca")),
    }


def test_keys_come_from_an_existing_secret() -> None:
    made = render("apiKeys.existingSecret=mine")
    assert secret_of(made, "/etc/distilpose/keys") == "mine"
    assert made.settings()["security"]["api_keys_file"] == "/etc/distilpose/keys/api-keys"
    assert "Secret" not in made.kinds()


def test_keys_are_made_into_a_secret_one_a_line() -> None:
    hashed = f"sha256:{'0a' * 32}"
    made = render(f"apiKeys.keys=[one, '{hashed}']")
    secret = made.one("Secret")
    assert secret["metadata"]["name"] == secret_of(made, "/etc/distilpose/keys")
    assert b64decode(secret["data"]["api-keys"]) == f"one\n{hashed}".encode()


@pytest.mark.parametrize("key", ["sha256:two", "SHA256:0a", "#comment", "two words", "k" * 257])
def test_what_the_service_would_not_take_as_a_key_is_refused(key: str) -> None:
    assert "apiKeys" in refusal(f"apiKeys.keys=['{key}']")


def test_certificates_come_from_an_existing_secret() -> None:
    made = render("tls.existingSecret=mine")
    assert secret_of(made, "/etc/distilpose/tls") == "mine"
    security = made.settings()["security"]
    assert security["tls_cert"] == "/etc/distilpose/tls/tls.crt"
    assert security["tls_key"] == "/etc/distilpose/tls/tls.key"
    assert security["tls_client_ca"] is None


def test_certificates_are_made_into_a_secret() -> None:
    made = render({"tls": {**PEM, "clientCa": "-----BEGIN A"}})
    secret = made.one("Secret")
    assert secret["type"] == "kubernetes.io/tls"
    assert secret["metadata"]["name"] == secret_of(made, "/etc/distilpose/tls")
    assert {name: b64decode(value) for name, value in secret["data"].items()} == {
        "tls.crt": b"-----BEGIN C",
        "tls.key": b"-----BEGIN K",
        "ca.crt": b"-----BEGIN A",
    }
    assert set(render({"tls": PEM}).one("Secret")["data"]) == {"tls.crt", "tls.key"}


def test_callers_certificates_can_be_demanded() -> None:
    made = render(SCENARIOS["tls"])
    assert made.settings()["security"]["tls_client_ca"] == "/etc/distilpose/tls/ca.crt"


def test_secrets_are_mounted_whole_so_that_they_follow_changes() -> None:
    mounts = render(SCENARIOS["everything"]).server()["volumeMounts"]
    assert "/etc/distilpose/tls" in [mount["mountPath"] for mount in mounts]
    assert [mount for mount in mounts if "subPath" in mount] == []


def test_no_key_stands_in_the_config_map() -> None:
    text = render("apiKeys.keys=[very-secret]").objects["configmap.yaml"]["data"]["config.yaml"]
    assert "very-secret" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["apiKeys={keys: [k], existingSecret: s}"], "apiKeys.keys and apiKeys.existingSecret"),
        ([{"tls": {**PEM, "existingSecret": "s"}}], "tls.certificate and tls.existingSecret"),
        ([{"tls": {"certificate": PEM["certificate"]}}], "tls.certificate and tls.key go together"),
        (["tls.requireClientCertificate=true"], "requireClientCertificate needs a certificate"),
        ([{"tls": {**PEM, "requireClientCertificate": True}}], "tls.clientCa is not set"),
    ],
)
def test_halves_are_refused(changes: list[Any], message: str) -> None:
    assert message in refusal(*changes)


def test_the_readmes_certificate_is_one() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text("utf-8"), re.DOTALL)
    (shown,) = [yaml.safe_load(block) for block in blocks if "kind: Certificate" in block]
    known = Certificate.model_validate(shown)
    assert known.model_dump(mode="json", by_alias=True, exclude_unset=True) == shown
    assert shown["spec"]["secretName"] == SCENARIOS["tls"]["tls"]["existingSecret"]
