"""Every setting of the service in one class, and the only reader of the environment.

Values come from, in order of precedence: `DISTILPOSE_<GROUP>__<FIELD>` variables, the YAML file of
`--config`, defaults. An unknown name prevents the start.
"""

import difflib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from distilpose.model.errors import one_line
from distilpose.model.formats import MAX_PIXELS

logger = logging.getLogger(__name__)

ENV_PREFIX = "DISTILPOSE_"
MEBIBYTE = 1024 * 1024
MOVED: Final = {
    "grpc.max_streams": "streams.max_streams",
    "grpc.stream_window": "streams.stream_window",
}
"""Old names that are accepted with a warning for one version, and the names that replace them."""

Auto = Literal["auto"]
MAX_SECONDS: Final = 86_400
"""Longest duration that a setting may have: a day."""


class SettingsError(Exception):
    """A setting is unknown or has an invalid value; the message names it."""


def _off_for_auto(value: object) -> object:
    """Accept `auto`, the default of `batching.scaled_decode` before it was a boolean."""
    if value != "auto":
        return value
    logger.warning(
        "batching.scaled_decode: auto means false and will be rejected in future; use false"
    )
    return False


def _ignored_for_max_memory(value: int | None) -> int | None:
    if value is not None:
        logger.warning(
            "limits.max_decoded_bytes: ignored, and rejected in future; set limits.max_memory_bytes"
        )
    return value


def _listed(value: object) -> object:
    """Accept a single value for a list, so that `api_keys=secret` needs no JSON.

    Raises:
        PydanticCustomError: the value is text that begins like a list and is none.
    """
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        raise PydanticCustomError("json_list", 'Input should be a JSON list such as ["a", "b"]')
    return (value,)


def _listed_unless_auto(value: object) -> object:
    return (value,) if isinstance(value, int) else value if value == "auto" else _listed(value)


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_Network = Annotated[IPvAnyNetwork, WithJsonSchema({"type": "string"})]


class HttpSettings(_Group):
    """The REST front end."""

    host: str = Field(
        "0.0.0.0",  # noqa: S104 - a container's service
        min_length=1,
        description="Address that REST and gRPC listen on; 0.0.0.0 and :: both mean every IPv4 "
        "and IPv6 address of the machine.",
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="Port of the REST API and, unless telemetry.metrics_port is set, of health "
        "and metrics.",
    )
    max_body_bytes: int = Field(
        32 * MEBIBYTE,
        ge=1024,
        le=1024 * MEBIBYTE,
        description="Maximum size of a request body, in bytes; larger ones are rejected with "
        "status 413.",
    )
    max_images: int = Field(
        32, ge=1, le=1024, description="Maximum number of images in one request."
    )
    max_connections: Auto | Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        "auto",
        description="Maximum number of open connections; further ones are closed at once. auto "
        "takes the file descriptors that the process may open, less 64 and those of "
        "grpc.max_connections.",
    )
    head_timeout_seconds: float = Field(
        10,
        gt=0,
        le=MAX_SECONDS,
        description="Time within which the head of a request must have arrived, counted from its "
        "first byte or, for the first one, from the start of the connection; also the time for a "
        "TLS handshake.",
    )
    max_head_bytes: int = Field(
        64 * 1024,
        ge=1024,
        le=MEBIBYTE,
        description="Maximum size of the head of a request, in bytes; larger ones are rejected "
        "with status 431.",
    )
    idle_timeout_seconds: float = Field(
        75,
        gt=0,
        le=MAX_SECONDS,
        description="Time after which a connection without a request is closed. It should be "
        "longer than load balancers keep idle connections, often 60 s.",
    )
    send_timeout_seconds: float = Field(
        30,
        gt=0,
        le=MAX_SECONDS,
        description="Time after which an answer is given up if its caller takes nothing of it.",
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        (), description="Web origins whose pages may call the API (CORS)."
    )
    trusted_proxies: Annotated[tuple[_Network, ...], BeforeValidator(_listed)] = Field(
        (),
        description="Addresses or networks of proxies whose `x-forwarded-for` is believed, for "
        "REST and gRPC: where no key is required, the last address in it that is not one of "
        "theirs is the caller. Otherwise the caller is where the connection comes from.",
    )
    root_path: str = Field(
        "", description="Path prefix that a proxy in front of the service strips."
    )


class GrpcSettings(_Group):
    """The gRPC front end."""

    port: int = Field(9000, ge=0, le=65535, description="Port of the gRPC API; 0 turns gRPC off.")
    max_message_bytes: int = Field(
        32 * MEBIBYTE,
        ge=1024,
        le=1024 * MEBIBYTE,
        description="Maximum size of a gRPC message, in bytes.",
    )
    max_connection_age_seconds: float = Field(
        300,
        gt=0,
        le=MAX_SECONDS,
        description="Maximum age of a connection; closing it lets new pods take their share.",
    )
    max_connection_age_grace_seconds: float = Field(
        30,
        ge=0,
        le=MAX_SECONDS,
        description="Grace period of open calls once their connection has reached its maximum age.",
    )
    keepalive_seconds: float = Field(
        30,
        ge=0.01,
        le=MAX_SECONDS,
        description="Interval at which the server pings a silent connection. Clients may ping "
        "every 5 s or less often, whatever this is.",
    )
    max_connections: Auto | Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        "auto",
        description="Maximum number of open gRPC connections; further ones are closed at once. "
        "auto takes a quarter of the file descriptors that the process may open, less 64.",
    )
    max_calls: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="Maximum number of calls in progress, streams included; further ones are "
        "rejected as overload.",
    )
    send_timeout_seconds: float = Field(
        30,
        gt=0,
        le=MAX_SECONDS,
        description="Time after which a stream is cancelled if its caller does not take an answer.",
    )

    @property
    def most_message_bytes(self) -> int:
        """The size of the largest message that may arrive; 0 if gRPC is off."""
        return self.max_message_bytes if self.port else 0


class StreamsSettings(_Group):
    """Video streams."""

    max_streams: int = Field(
        64,
        ge=1,
        description="Maximum number of open video streams; fewer where a third of "
        "limits.max_memory_bytes does not hold grpc.max_message_bytes for each.",
    )
    max_streams_per_caller: int = Field(
        32,
        ge=1,
        description="Maximum number of open video streams of one caller: of an API key, or of an "
        "address where no key is asked for.",
    )
    stream_window: int = Field(
        8, ge=1, le=256, description="Maximum number of frames of one stream that are in flight."
    )
    first_message_seconds: float = Field(
        10,
        gt=0,
        le=3600,
        description="Time within which a stream must have sent its first message; after that it "
        "may be silent for as long as it lives.",
    )


class LimitsSettings(_Group):
    """Limits and defaults of one request."""

    max_pixels: int = Field(
        MAX_PIXELS,
        ge=1,
        le=89_478_485,  # above it Pillow warns about, and soon rejects, images that we allow
        description="Maximum number of pixels in an image, checked in its header before it is "
        "decoded.",
    )
    max_people: int = Field(
        50, ge=1, le=1000, description="Maximum number of people in the answer for one image."
    )
    max_memory_bytes: Auto | Annotated[int, Field(ge=512 * MEBIBYTE)] = Field(
        "auto",
        description="Maximum memory that all requests together may hold, in bytes; a request that "
        "finds no room within a second is rejected with status 429. auto takes 0.85 of the "
        "container's limit, or of half the machine's memory, less what the loaded process holds.",
    )
    max_decoded_bytes: Annotated[int | None, AfterValidator(_ignored_for_max_memory)] = Field(
        None, description="Ignored, and rejected in future; set limits.max_memory_bytes."
    )
    request_timeout_seconds: float = Field(
        10, gt=0, le=3600, description="Deadline of a request whose caller sets none."
    )
    min_keypoint_score: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Default of the option `min_keypoint_score`: keypoints with a lower score "
        "are answered as not visible and left out of drawings.",
    )


class ModelSettings(_Group):
    """The student, and the device that runs both networks."""

    weights: Path | None = Field(
        None,
        description="Path of the student's weights (safetensors); the packaged distilpose-n by "
        "default.",
    )
    weights_sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="Expected SHA-256 of model.weights, checked at the start.",
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field(
        "auto", description="Device that runs both networks; auto takes cuda, else mps, else cpu."
    )
    engine: Literal["auto", "torch", "openvino"] = Field(
        "auto",
        description="Runtime of both networks; auto takes openvino on an x86 CPU, else torch.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Precision of both networks; auto takes bfloat16 where the GPU, or with "
        "openvino the CPU, computes in it, else float32.",
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Compile the networks with torch.compile; auto does so on CUDA where a C "
        "compiler is found.",
    )
    cache: Literal["auto", "off"] | Path = Field(
        "auto",
        description="Folder that keeps compiled networks for the next start, up to 1 GiB; auto "
        "takes distilpose in the user's cache folder, off keeps nothing.",
    )
    calibrate: bool = Field(
        True, description="Answer with calibrated scores if the weights include a calibration."
    )


class DetectorSettings(_Group):
    """The person detector."""

    weights: Path | None = Field(
        None, description="Path of ultralytics detection weights; the packaged detector by default."
    )
    image_size: int = Field(
        640,
        ge=160,
        le=2048,
        multiple_of=32,
        description="Long side of the detector's input, in pixels.",
    )
    min_box_score: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Default of the option `min_box_score`: boxes with a lower score are dropped.",
    )
    iou: float = Field(
        0.6, gt=0, le=1, description="Overlap (IoU) above which the weaker of two boxes is dropped."
    )


_Batch = Annotated[int, Field(ge=1, le=4096)]


class BatchingSettings(_Group):
    """Batching, and the two queues in front of the device."""

    detect_max_batch: Auto | _Batch = Field(
        "auto",
        description="Maximum batch size of the detector; auto takes 1 on a CPU and 32 on a GPU.",
    )
    pose_max_batch: Auto | _Batch = Field(
        "auto",
        description="Maximum batch size of the student; auto takes 8 on a CPU and 256 on a GPU.",
    )
    max_delay_seconds: float = Field(
        0.005, ge=0, le=10, description="Maximum time that an item waits for its batch to fill up."
    )
    max_queue_seconds: float = Field(
        2,
        gt=0,
        le=600,
        description="Maximum time to clear a full queue at its measured throughput.",
    )
    queue_capacity: Auto | Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        "auto",
        description="Capacity of each queue, in images or crops; requests beyond it are rejected "
        "with status 429. auto takes what clears within max_queue_seconds, but at least two "
        "batches, and one whole request if half of request_timeout_seconds is enough for it.",
    )
    decode_threads: Auto | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto",
        description="Number of threads that decode images; auto takes the container's CPU quota.",
    )
    cut_threads: Auto | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto",
        description="Number of threads that cut people out of images; auto takes one for every 4 "
        "CPUs of the container, and at least 1.",
    )
    scaled_decode: Annotated[
        bool,
        BeforeValidator(_off_for_auto),
        WithJsonSchema({"enum": [True, False, "on", "off", "auto"]}),
    ] = Field(
        False,
        description="Decode JPEGs 2, 4 or 8 times smaller where detector and crops keep their "
        "pixels. It takes half the time or less, but keypoints of the packaged weights then move "
        "by 1 to 2 crop pixels (median).",
    )
    buckets: Annotated[
        Auto | Annotated[tuple[_Batch, ...], Field(min_length=1)],
        BeforeValidator(_listed_unless_auto),
    ] = Field(
        "auto",
        description="Batch sizes that batches are padded to; auto takes powers of two, and every "
        "size up to 8 on a CPU.",
    )


class SecuritySettings(_Group):
    """Authentication and TLS."""

    api_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_listed)] = Field(
        (),
        description="Accepted API keys: 1 to 256 printable ASCII characters without blanks, or "
        "`sha256:` and 64 hexadecimal digits; without any, everyone may call.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="Path of a file with one API key per line, as in security.api_keys; lines that "
        "begin with # are comments.",
    )
    tls_cert: Path | None = Field(
        None, description="Path of the server's certificate chain (PEM); it turns TLS on."
    )
    tls_key: Path | None = Field(
        None, description="Path of the private key of security.tls_cert (PEM)."
    )
    tls_client_ca: Path | None = Field(
        None, description="Path of the CA (PEM) that must have signed the clients' certificates."
    )


class LifeSettings(_Group):
    """Shutdown."""

    drain_delay_seconds: float = Field(
        0, ge=0, le=3600, description="Time for which new work is still accepted after SIGTERM."
    )
    drain_seconds: float = Field(
        30,
        ge=0,
        le=3600,
        description="Time for accepted work to finish once new work is refused.",
    )


class TelemetrySettings(_Group):
    """Logs and metrics."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum log level."
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Format of log lines; auto takes console on a terminal, else json."
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Separate port for health and metrics; the HTTP port by default.",
    )


class DemoSettings(_Group):
    """The demo page."""

    enabled: bool = Field(True, description="Serve the demo page at `/`.")


class _Environment(EnvSettingsSource):
    """Variables, whose text is JSON only where it can be a list or a group.

    Any other text is left to the field, whose error names the setting.
    """

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Return the JSON value of a variable's text, or the text."""
        is_group = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        if not value.startswith("{" if is_group else "["):
            return value
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


class Settings(BaseSettings):
    """All settings; frozen, and built once by the command that needs them."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    http: HttpSettings = HttpSettings()
    grpc: GrpcSettings = GrpcSettings()
    streams: StreamsSettings = StreamsSettings()
    limits: LimitsSettings = LimitsSettings()
    model: ModelSettings = ModelSettings()
    detector: DetectorSettings = DetectorSettings()
    batching: BatchingSettings = BatchingSettings()
    security: SecuritySettings = SecuritySettings()
    life: LifeSettings = LifeSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    demo: DemoSettings = DemoSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment override the file's values, which arrive as init values."""
        variables = _Environment(settings_cls)

        def renamed() -> dict[str, Any]:
            return _with_new_names(variables(), "the environment")

        return renamed, init_settings  # type: ignore[return-value]  # a function is enough


def load_settings(config: Path | None = None) -> Settings:
    """Load the settings from the environment and, if given, a YAML file.

    Raises:
        SettingsError: a name is unknown (the message suggests the nearest), or a value is invalid.
    """
    from_file = _with_new_names(_read_yaml(config) if config else {}, str(config))
    known = set(field_names())
    for name in _env_names(os.environ):
        if name in MOVED:
            continue
        _refuse_unknown(name, known, f"variable {_variable(name)}", _variable)
    for name in _yaml_names(from_file):
        _refuse_unknown(name, known, f"`{name}` in {config}", str)
    try:
        return Settings(**from_file)
    except ValidationError as err:
        raise SettingsError(one_line(err)) from err


def _with_new_names(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values under their present names; a value under the new name takes precedence."""
    renamed: dict[str, Any] = {
        group: dict(fields) if isinstance(fields, dict) else fields
        for group, fields in values.items()
    }
    for old, new in MOVED.items():
        (old_group, old_field), (group, field) = old.split("."), new.split(".")
        fields = renamed.get(old_group)
        if isinstance(fields, dict) and old_field in fields:
            logger.warning(
                "`%s` in %s: use %s; this name will be rejected in future", old, where, new
            )
            renamed.setdefault(group, {}).setdefault(field, fields.pop(old_field))
    return renamed


def field_names() -> Iterator[str]:
    """Every setting's name, as `group.field`."""
    for group, info in Settings.model_fields.items():
        group_class = info.annotation
        assert isinstance(group_class, type)  # noqa: S101 - narrows the type for the checker
        assert issubclass(group_class, BaseModel)  # noqa: S101 - narrows the type for the checker
        yield from (f"{group}.{field}" for field in group_class.model_fields)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise SettingsError(f"{path}: cannot be read as YAML: {err}") from err
    if values is not None and not isinstance(values, dict):
        raise SettingsError(f"{path}: expected groups of settings, got {type(values).__name__}")
    return values or {}


def _env_names(environ: Mapping[str, str]) -> Iterator[str]:
    for variable in environ:
        if variable.upper().startswith(ENV_PREFIX):
            yield variable[len(ENV_PREFIX) :].lower().replace("__", ".", 1)


def _yaml_names(values: Mapping[str, Any]) -> Iterator[str]:
    for group, fields in values.items():
        if isinstance(fields, dict):
            yield from (f"{group}.{field}" for field in fields)
        else:
            yield str(group)


def _variable(name: str) -> str:
    return ENV_PREFIX + name.replace(".", "__").upper()


def _refuse_unknown(name: str, known: set[str], where: str, spelled: Any) -> None:
    if name in known or name in Settings.model_fields:
        return
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0)
    raise SettingsError(f"unknown setting: {where}; did you mean {spelled(nearest[0])}?")
