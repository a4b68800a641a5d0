"""The HTTP routes: parse, call, map, nothing else."""

import asyncio
import time
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from distilpose.service.app import Service
from distilpose.service.domain import Options, PoseAnswer, PoseRequest
from distilpose.service.errors import (
    InvalidOptions,
    ServiceError,
)
from distilpose.service.intake import OptionsLimits
from distilpose.service.pipeline.memory import Memory
from distilpose.service.rest import coco, drawing, openapi
from distilpose.service.rest.answer import (
    ModelCardOut,
    ModelOut,
    answer_out,
    images_out,
    model_out,
)
from distilpose.service.rest.body import read_body
from distilpose.service.rest.caller import caller_name, timeout_seconds, while_waiting
from distilpose.service.rest.cors import BoundedCors
from distilpose.service.rest.errors import STATUSES, add_handlers, problem
from distilpose.service.rest.held import HeldResponse
from distilpose.service.rest.lingering import Lingering
from distilpose.service.rest.middleware import ENDINGS, METHODS, RequestMiddleware
from distilpose.service.rest.page.routes import demo_routes
from distilpose.service.security.keys import ApiKeys
from distilpose.service.telemetry import logs
from distilpose.service.words import MemoryPart

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
        caller = caller_name(request, service.keys, settings.http.trusted_proxies)
        bodies = service.memory.hold(MemoryPart.BODIES, caller=caller)
        with service.life.admitted(), bodies as holding:
            service.expect_body(caller)
            sources, body_options = await read_body(
                request,
                deadline=deadline,
                max_bytes=settings.http.max_body_bytes,
                limits=OptionsLimits.of(settings),
                holding=holding,
                check_room=partial(service.refuse_if_full, caller),
            )
            options = body_options.resolve(settings, images=len(sources))
            if options.format == "coco":
                coco.image_ids([source.id for source in sources])  # refused before the work
            picture_format = drawing.picture_format(accept, images=len(sources))
            if options.draw_sigma and picture_format is None:
                raise InvalidOptions(
                    f"draw_sigma: only for a drawn answer; set Accept to {drawing.MEDIA_TYPES}"
                )
            pose_request = PoseRequest(
                sources, options, deadline, caller, keep_pixels=picture_format is not None
            )
            answer = await while_waiting(request, service.pipeline.estimate(pose_request))
            if picture_format:
                return await drawing.drawn_answer(
                    service.drawing, answer, options, picture_format, deadline
                )
            if answer.failure:
                return _all_failed(answer.failure, answer, options)
            model = ModelOut(name=service.model.name, version=service.model.version)
            return await _json(service.memory, answer, options, model)

    @router.get("/models", response_model_exclude_unset=True)
    async def get_models() -> dict[str, list[ModelCardOut]]:
        """Return the model that answers: its origin, the device it runs on and its detector."""
        return {"models": [model_out(service.model)]}

    return router


async def _json(memory: Memory, answer: PoseAnswer, options: Options, model: ModelOut) -> Response:
    request_id = logs.request_id.get() or ""

    def write() -> bytes:
        out = answer_out(answer, options, request_id=request_id, model=model, statuses=STATUSES)
        return out.model_dump_json(exclude_unset=True).encode()

    people = sum(len(image.poses) for image in answer.images)
    if people <= _WRITTEN_ON_THE_LOOP_PEOPLE:
        return Response(write(), media_type="application/json")
    body = await asyncio.to_thread(write)
    holding = memory.hold(MemoryPart.ANSWERS)
    holding.take(len(body))
    return HeldResponse(body, media_type="application/json", on_written=holding.close)


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
