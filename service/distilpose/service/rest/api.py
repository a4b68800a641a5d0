"""The HTTP routes: parse, call, map, nothing else."""

import asyncio
import time
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from distilpose.model.arrays import ImageHWC
from distilpose.model.drawing import skeletons
from distilpose.model.drawing.encode import LARGEST_SIDE_PX, PictureFormat, encode
from distilpose.service.app import Service
from distilpose.service.domain import Options, PoseAnswer, PoseRequest
from distilpose.service.errors import InvalidOptions, InvalidRequest, ServiceError, TooLarge
from distilpose.service.intake import OptionsLimits
from distilpose.service.rest import openapi
from distilpose.service.rest.answer import (
    ModelCardOut,
    ModelOut,
    answer_out,
    images_out,
    model_out,
)
from distilpose.service.rest.body import read_body
from distilpose.service.rest.caller import timeout_seconds, while_waiting
from distilpose.service.rest.cors import BoundedCors
from distilpose.service.rest.errors import STATUSES, add_handlers, problem
from distilpose.service.rest.lingering import Lingering
from distilpose.service.rest.middleware import ENDINGS, METHODS, RequestMiddleware
from distilpose.service.rest.page.routes import demo_routes
from distilpose.service.security.keys import ApiKeys
from distilpose.service.telemetry import logs

PICTURE_FORMATS: Final[dict[str, PictureFormat]] = {"image/jpeg": "jpeg", "image/png": "png"}
_PICTURES: Final = " or ".join(PICTURE_FORMATS)
_MOST_ACCEPTED_TYPES: Final = 32
_WRITTEN_ON_THE_LOOP_PEOPLE: Final = 10


def create_app(service: Service) -> FastAPI:
    """The ASGI application over a service that may still be loading."""
    app = FastAPIOffline(
        title="distilpose",
        description="Human pose estimation: photos in, people with 17 keypoints each out.",
        version=openapi.VERSION,
        redoc_url=None,
        # A redirect would return the caller's own address and query as a header.
        redirect_slashes=False,
    )
    guard = Depends(_key_check(service.keys))
    app.include_router(_pose_routes(service), prefix="/v1", dependencies=[guard])
    app.include_router(_health_routes(service))
    if service.settings.telemetry.metrics_port is None:
        app.include_router(_metrics_route(service), dependencies=[guard])
    if origins := service.settings.http.cors_origins:
        app.add_middleware(
            BoundedCors,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    for method in METHODS.values():
        service.metrics.expect("rest", method, endings=ENDINGS)
    app.add_middleware(
        RequestMiddleware,
        metrics=service.metrics,
        traces=service.traces,
        life=service.life,
        request_timeout_seconds=service.settings.limits.request_timeout_seconds,
        root_path=service.settings.http.root_path,
    )
    app.add_middleware(Lingering)
    add_handlers(app)
    openapi.install(app)

    app.include_router(
        demo_routes(service.settings) if service.settings.demo.enabled else _no_demo_route(service)
    )
    app.openapi()  # generated now, not while the event loop serves
    return app


def create_operations_app(service: Service) -> FastAPI:
    """Health and metrics alone, for a separate port that requires no key."""
    app = FastAPI(title="distilpose operations", openapi_url=None, redirect_slashes=False)
    app.include_router(_health_routes(service))
    app.include_router(_metrics_route(service))
    add_handlers(app)
    return app


def _no_demo_route(service: Service) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def root() -> Response:
        return RedirectResponse(f"{service.settings.http.root_path}/docs")

    return router


def _key_check(keys: ApiKeys):  # type: ignore[no-untyped-def]  # FastAPI reads the inner signature
    api_key_header = APIKeyHeader(name="x-api-key", auto_error=False)
    bearer = HTTPBearer(auto_error=False)

    async def check(
        request: Request,
        api_key: Annotated[str | None, Depends(api_key_header)],
        _: Annotated[object, Depends(bearer)],
    ) -> None:
        keys.check(api_key=api_key, authorization=request.headers.get("authorization"))

    return check


def _pose_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["pose"])

    @router.post("/pose", **openapi.POSE_ROUTE)
    async def estimate_pose(
        request: Request, accept: Annotated[str, Header(include_in_schema=False)] = "*/*"
    ) -> Response:
        """Find the people in one or several photos and the 17 COCO keypoints of each."""
        settings = service.settings
        deadline = time.monotonic() + timeout_seconds(
            request, limit_seconds=settings.limits.request_timeout_seconds
        )
        with service.life.admitted():
            service.refuse_if_full()
            sources, body_options = await read_body(
                request,
                deadline=deadline,
                max_bytes=settings.http.max_body_bytes,
                limits=OptionsLimits.of(settings),
            )
            options = body_options.resolve(settings, images=len(sources))
            picture_format = _picture_format(accept, images=len(sources))
            if options.draw_sigma and picture_format is None:
                raise InvalidOptions(
                    f"draw_sigma: only for a drawn answer; set Accept to {_PICTURES}"
                )
            pose_request = PoseRequest(
                sources, options, deadline, keep_pixels=picture_format is not None
            )
            answer = await while_waiting(request, service.pipeline.estimate(pose_request))
            if answer.failure:
                return _all_failed(answer.failure, answer, options)
            if picture_format:
                return await _picture(answer, options, picture_format)
            model = ModelOut(name=service.model.name, version=service.model.version)
            return await _json(answer, options, model)

    @router.get("/models", response_model_exclude_unset=True)
    async def get_models() -> dict[str, list[ModelCardOut]]:
        """Return the model that answers: its origin, the device it runs on and its detector."""
        return {"models": [model_out(service.model)]}

    return router


def _picture_format(accept: str, *, images: int) -> PictureFormat | None:
    """The picture format requested by `Accept`, or None for JSON. The first known type wins."""
    for entry in accept.lower().split(",", _MOST_ACCEPTED_TYPES)[:_MOST_ACCEPTED_TYPES]:
        media_type = entry.split(";")[0].strip()
        if media_type in ("application/json", "*/*", "application/*"):
            return None
        if media_type in PICTURE_FORMATS:
            if images != 1:
                raise InvalidRequest(f"Accept {media_type}: needs exactly one image, got {images}")
            return PICTURE_FORMATS[media_type]
    return None


async def _json(answer: PoseAnswer, options: Options, model: ModelOut) -> Response:
    request_id = logs.request_id.get() or ""

    def write() -> str:
        out = answer_out(answer, options, request_id=request_id, model=model, statuses=STATUSES)
        return out.model_dump_json(exclude_unset=True)

    people = sum(len(image.poses) for image in answer.images)
    body = write() if people <= _WRITTEN_ON_THE_LOOP_PEOPLE else await asyncio.to_thread(write)
    return Response(body, media_type="application/json")


async def _picture(answer: PoseAnswer, options: Options, picture_format: PictureFormat) -> Response:
    [image] = answer.images
    assert image.image is not None  # noqa: S101 - pixels were requested
    pixels = image.image
    _check_sides(pixels, picture_format)

    def render() -> bytes:
        drawn = skeletons.draw_poses(
            pixels,
            image.poses,
            visible=[options.visible(pose) for pose in image.poses],
            draw_sigma=options.draw_sigma,
        )
        return encode(drawn, picture_format)

    body = await asyncio.to_thread(render)
    return Response(body, media_type=f"image/{picture_format}")


def _check_sides(pixels: ImageHWC, picture_format: PictureFormat) -> None:
    height, width, _ = pixels.shape
    largest_px = LARGEST_SIDE_PX[picture_format]
    if max(width, height) > largest_px:
        instead = "image/png" if picture_format == "jpeg" else "application/json"
        raise TooLarge(
            f"the image is {width} pixels wide and {height} high; a drawn {picture_format.upper()} "
            f"can have {largest_px} each way: set Accept to {instead}"
        )


def _all_failed(first: ServiceError, answer: PoseAnswer, options: Options) -> Response:
    several = images_out(answer.images, options, statuses=STATUSES)
    return problem(first, images=several if len(several) > 1 else None)


def _health_routes(service: Service) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> Response:
        """200 while the process and its device thread are alive, else 503."""
        alive = service.alive
        return PlainTextResponse("alive" if alive else "dead", 200 if alive else 503)

    @router.get("/readyz")
    async def readyz() -> Response:
        """200 when loaded, warmed up and not shutting down, else 503."""
        ready = service.ready
        return JSONResponse({"state": service.state}, 200 if ready else 503)

    @router.get("/v2/health/live")
    async def live() -> Response:
        """Same as `/healthz`, for callers of the Open Inference Protocol."""
        alive = service.alive
        return JSONResponse({"live": alive}, 200 if alive else 503)

    @router.get("/v2/health/ready")
    async def ready() -> Response:
        """Same as `/readyz`, for callers of the Open Inference Protocol."""
        ready = service.ready
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    return router


def _metrics_route(service: Service) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus metrics."""
        service.metrics.ready.set(service.ready)
        body = await asyncio.to_thread(generate_latest, service.metrics.registry)
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    return router
