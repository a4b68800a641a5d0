"""The table from kinds of failure to HTTP."""

import json

from distilpose.service import errors
from distilpose.service.rest.errors import STATUSES, problem


def kinds(base: type[errors.ServiceError] = errors.ServiceError) -> set[type[errors.ServiceError]]:
    return {base, *(kind for sub in base.__subclasses__() for kind in kinds(sub))}


def test_every_kind_has_a_status() -> None:
    assert set(STATUSES) == kinds() - {errors.ServiceError}


def test_a_time_to_come_back_is_whole_seconds_and_at_least_one() -> None:
    for seconds, header in ((0.01, "1"), (1.2, "2"), (30, "30")):
        response = problem(errors.Overloaded("full", retry_after_seconds=seconds))
        assert response.headers["retry-after"] == header


def test_a_problem_document_names_its_kind() -> None:
    response = problem(errors.TooLarge("3 images, the limit is 2"))
    document = json.loads(bytes(response.body))
    assert response.status_code == 413
    assert response.media_type == "application/problem+json"
    assert document == {
        "type": "too-large",
        "title": "Too large",
        "status": 413,
        "detail": "3 images, the limit is 2",
        "request_id": "",
    }
