"""The parts of the OpenAPI document that the routes' signatures lack: bodies, options, errors."""

import json
from importlib.metadata import version
from importlib.resources import files
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from distilpose.service.intake import MOST_ID_CHARACTERS, OptionsBody
from distilpose.service.rest.answer import AnswerOut, ProblemOut
from distilpose.service.rest.body import IMAGE_MEDIA_TYPES
from distilpose.service.rest.caller import TIMEOUT_HEADER
from distilpose.service.rest.errors import PROBLEM_MEDIA_TYPE
from distilpose.service.rest.request import PoseBody

VERSION: Final = version("distilpose")
_REF: Final = "#/components/schemas/{model}"

_ERRORS: Final = {
    400: "The body is malformed or has no image.",
    401: "Keys are configured and none matches.",
    413: "Too many bytes, pixels or images.",
    415: "The image format is not accepted, or the body has a `Content-Encoding`.",
    422: "An option is unknown, out of range or not for this answer, or no image was decodable.",
    429: "A queue is full; retry after `Retry-After` seconds.",
    500: "A bug or a device fault.",
    503: "The service is loading, warming up or shutting down.",
    504: "The deadline passed.",
}

EXAMPLE_REQUEST: Final = {
    "images": [{"content": "/9j/4AAQSkZJRgABAQAAAQABAAD...", "id": "bus.jpg"}],
    "options": {"min_keypoint_score": 0.5, "flip_test": True},
}


def _problem_response(text: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model="ProblemOut")}
    return {"description": text, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}


def _query_parameters() -> list[dict[str, Any]]:
    """The id and the options as query parameters, for bodies that consist of a single image."""
    parameters = [
        {
            "name": "id",
            "in": "query",
            "description": "Your own id for the image; returned in the answer. With format coco it "
            "is the image_id: a whole number, or a file name of digits. Only with an image as the "
            "body.",
            "schema": {"type": "string", "maxLength": MOST_ID_CHARACTERS},
        }
    ]
    for name, field in OptionsBody.model_json_schema()["properties"].items():
        schema = {key: value for key, value in field.items() if key not in ("description", "title")}
        if name == "boxes":
            schema = {"type": "string", "examples": ["[[[49, 398, 244, 903]]]"]}
        text = f"{field['description']} Only with an image as the body."
        parameters.append({"name": name, "in": "query", "description": text, "schema": schema})
    return parameters


def _headers() -> list[dict[str, Any]]:
    schemas: list[tuple[str, dict[str, Any], str]] = [
        (
            TIMEOUT_HEADER,
            {"type": "integer", "minimum": 1},
            "Timeout in milliseconds, after which the answer is 504.",
        ),
        (
            "x-request-id",
            {"type": "string", "maxLength": 128},
            "Your own request id; returned with the answer.",
        ),
        ("traceparent", {"type": "string"}, "Your trace, in the format of W3C Trace Context."),
    ]
    return [
        {"name": name, "in": "header", "description": text, "schema": schema}
        for name, schema, text in schemas
    ]


def _request_body() -> dict[str, Any]:
    binary = {"schema": {"type": "string", "format": "binary"}}
    multipart = {
        "type": "object",
        "required": ["images"],
        "properties": {
            "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
            "options": {"type": "string", "description": "JSON, like `options` of the JSON body."},
        },
    }
    json_body = {"schema": {"$ref": _REF.format(model="PoseBody")}, "example": EXAMPLE_REQUEST}
    content = {
        "application/json": json_body,
        "multipart/form-data": {"schema": multipart},
        **dict.fromkeys(IMAGE_MEDIA_TYPES, binary),
    }
    return {"required": True, "content": content}


def _answer_response() -> dict[str, Any]:
    picture = {"schema": {"type": "string", "format": "binary"}}
    return {
        "description": "At least one image was answered.",
        "content": {
            "application/json": {"schema": {"$ref": _REF.format(model="AnswerOut")}},
            "image/jpeg": picture,
            "image/png": picture,
        },
    }


POSE_ROUTE: Final[dict[str, Any]] = {
    "responses": {
        200: _answer_response(),
        **{status: _problem_response(text) for status, text in _ERRORS.items()},
    },
    "openapi_extra": {
        "requestBody": _request_body(),
        "parameters": [*_query_parameters(), *_headers()],
    },
}


def _example_answer() -> dict[str, Any]:
    """The service's real answer to bus.jpg with `max_people` 1."""
    text = files("distilpose.service.rest").joinpath("example_answer.json").read_text("utf-8")
    example: dict[str, Any] = json.loads(text)
    return example


def install(app: FastAPI) -> None:
    """Make `app` describe itself with the schemas that only these routes' bodies mention."""

    def describe() -> dict[str, Any]:
        if not app.openapi_schema:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            _, extra = models_json_schema(
                [
                    (PoseBody, "validation"),
                    (AnswerOut, "serialization"),
                    (ProblemOut, "serialization"),
                ],
                ref_template=_REF,
            )
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            document["components"]["schemas"] = extra["$defs"] | schemas
            answer = document["paths"]["/v1/pose"]["post"]["responses"]["200"]["content"]
            answer["application/json"]["example"] = _example_answer()
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]  # FastAPI documents this way to extend it
