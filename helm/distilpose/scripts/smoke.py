"""Post a photo to the service and check the answer; `helm test` runs this."""

import importlib.util
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ATTEMPTS = 10
"""A network policy may need seconds to apply to this pod."""


def photo() -> bytes:
    """A photo of four people in front of a bus, from an installed package that is not imported."""
    spec = importlib.util.find_spec("ultralytics")
    if not spec or not spec.origin:
        sys.exit("ultralytics, which has the photo, is not installed")
    return (Path(spec.origin).parent / "assets" / "bus.jpg").read_bytes()


def key(secrets: Path) -> dict[str, str]:
    """The header with the first key that is not hashed; empty if there is no file of keys."""
    path = secrets / "keys" / "api-keys"
    text = path.read_text("utf-8-sig") if path.exists() else ""
    lines = [line.strip() for line in text.split("\n")]
    keys = [line for line in lines if line and not line.startswith("#")]
    plain = [key for key in keys if not key.lower().startswith("sha256:")]
    if keys and not plain:
        sys.exit("all API keys are hashed: the test needs a plain one")
    return {"x-api-key": plain[0]} if plain else {}


def context(secrets: Path) -> ssl.SSLContext:
    """A TLS context that ignores the host name, since this caller does not use the public name."""
    authority = secrets / "tls" / "ca.crt"
    known = ssl.create_default_context(cafile=authority if authority.exists() else None)
    known.check_hostname = False
    if not authority.exists():
        known.verify_mode = ssl.CERT_NONE
    return known


def ask(url: str, secrets: Path, attempts: int = ATTEMPTS) -> bytes:
    """Return the answer, retrying while the service cannot be reached."""
    headers = {"content-type": "image/jpeg", **key(secrets)}
    request = urllib.request.Request(url, data=photo(), headers=headers)  # noqa: S310 - the chart's own
    try:
        with urllib.request.urlopen(request, timeout=30, context=context(secrets)) as answer:  # noqa: S310 - as above
            return bytes(answer.read())
    except urllib.error.HTTPError as err:
        sys.exit(f"{url}: {err.code} {err.read().decode(errors='replace')}")
    except OSError as err:
        if attempts == 1:
            sys.exit(f"{url}: {err}")
    time.sleep(2)
    return ask(url, secrets, attempts - 1)


def main(url: str, secrets: Path) -> None:
    """Succeed if people were found, each with 17 keypoints."""
    poses = json.loads(ask(url, secrets))["images"][0]["poses"]
    counts = [len(pose["keypoints"]) for pose in poses]
    sys.stdout.write(f"people: {len(poses)}, keypoints of each: {counts}\n")
    if not poses or set(counts) != {17}:
        sys.exit("expected people with 17 keypoints each")


main(sys.argv[1], Path(sys.argv[2]))
