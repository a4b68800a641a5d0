"""The table from kinds of failure to gRPC."""

import grpc
import pytest
from google.rpc.error_details_pb2 import (  # type: ignore[import-untyped]  # no py.typed there
    ErrorInfo,
    RetryInfo,
)

from distilpose.service import errors
from distilpose.service.rpc.errors import CODES, status


def kinds(base: type[errors.ServiceError] = errors.ServiceError) -> set[type[errors.ServiceError]]:
    return {base, *(kind for sub in base.__subclasses__() for kind in kinds(sub))}


def test_every_kind_has_a_code() -> None:
    assert set(CODES) == kinds() - {errors.ServiceError}


@pytest.mark.parametrize("kind", CODES)
def test_every_status_names_its_kind(kind: type[errors.ServiceError]) -> None:
    made = status(kind("what went wrong"))
    assert (made.code, made.message) == (CODES[kind].value[0], "what went wrong")
    info = ErrorInfo()
    assert made.details[0].Unpack(info)
    assert (info.reason, info.domain) == (kind.type.upper().replace("-", "_"), "distilpose")
    assert len(made.details) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.25, 30.0])
def test_a_time_to_come_back_is_sent(seconds: float) -> None:
    made = status(errors.Overloaded("full", retry_after_seconds=seconds))
    retry = RetryInfo()
    assert made.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == seconds * 1000


def test_only_a_full_queue_is_what_a_caller_takes_for_overload() -> None:
    exhausted = [kind for kind, code in CODES.items() if code == grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert exhausted == [errors.Overloaded]
