"""The wrapper around every call of PoseService: id, key, count, duration, last safety net.

Health and reflection require no key and are not counted, since health watchers are not work; only
the reading of their messages is bounded.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, Final, TypeAlias

import grpc

from distilpose.service.errors import Internal, Overloaded, ServiceError, Unauthenticated
from distilpose.service.intake import is_shorter
from distilpose.service.rpc import errors as grpc_errors
from distilpose.service.rpc.api import SERVICE
from distilpose.service.rpc.calls import Calls
from distilpose.service.rpc.messages import (
    LINGER_SECONDS,
    Context,
    Greeting,
    Messages,
    NotTaken,
    texts_of,
)
from distilpose.service.rpc.small import SmallMessages
from distilpose.service.security.keys import ApiKeys
from distilpose.service.telemetry import logs
from distilpose.service.telemetry.metrics import Metrics
from distilpose.service.telemetry.traces import RequestTrace, Traces
from distilpose.service.words import Blame

logger = logging.getLogger(__name__)

REQUEST_ID_KEY: Final = "x-request-id"
METHODS: Final = {
    f"/{SERVICE}/EstimatePose": "estimate_pose",
    f"/{SERVICE}/StreamPose": "stream_pose",
    f"/{SERVICE}/GetModel": "get_model",
}

ENDINGS: Final = sorted(
    {
        (grpc.StatusCode.OK.name, Blame.NONE),
        (grpc.StatusCode.CANCELLED.name, Blame.CALLER),
        *((code.name, error.blame) for error, code in grpc_errors.CODES.items()),
    }
)
"""The code and blame of every ending that is expected."""

Behaviour = Callable[[Any, Context, Greeting], Awaitable[Any]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """Checks keys, gives each call an id, counts it, and maps whatever it raises."""

    def __init__(
        self,
        keys: ApiKeys,
        metrics: Metrics,
        traces: Traces,
        *,
        small: SmallMessages,
        calls: Calls,
        request_timeout_seconds: float,
    ) -> None:
        self._small = small
        self._calls = calls
        self._keys = keys
        self._metrics = metrics
        self._traces = traces
        self._request_timeout_seconds = request_timeout_seconds
        for method in METHODS.values():
            metrics.expect("grpc", method, endings=ENDINGS)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The wrapped handler of a call, or one that refuses if no key matches."""
        handler = await continuation(handler_call_details)
        method = METHODS.get(handler_call_details.method)
        if method is None:
            return handler and self._small.handler(handler_call_details.method, handler)
        metadata = texts_of(handler_call_details.invocation_metadata)
        try:
            self._keys.check(
                api_key=metadata.get("x-api-key"), authorization=metadata.get("authorization")
            )
            self._calls.check_room()
        except (Unauthenticated, Overloaded) as err:
            # As a stream of messages: for any other kind the library would read the message first.
            return grpc.stream_stream_rpc_method_handler(
                self._surround(method, _refusing(err, streaming=handler.response_streaming))
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._surround(method, self._placed(_reading(handler.stream_stream))),  # type: ignore[arg-type]  # a coroutine
                response_serializer=handler.response_serializer,
            )
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._surround(
                    method,
                    self._placed(_reading(handler.stream_unary, lingers=False)),  # type: ignore[arg-type]  # a coroutine
                ),
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._surround(method, self._placed(_plain(handler.unary_unary))),  # type: ignore[arg-type]  # a coroutine
            response_serializer=handler.response_serializer,
        )

    def _placed(self, behaviour: Behaviour) -> Behaviour:
        """The behaviour as one of the calls in progress."""

        async def call(request: Any, context: Context, greeting: Greeting) -> Any:
            with self._calls.place():  # those that began together came past the first check
                return await behaviour(request, context, greeting)

        return call

    def _surround(
        self, method: str, behaviour: Behaviour
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            try:
                return await self._call(method, behaviour, request, context)
            except grpc.aio.AbortError as err:
                aborted = err
            # The call keeps its AbortError, whose frames hold the call and its messages. That ring
            # would stay until a full collection, which is rare in a process of this size.
            aborted.__context__ = None
            del request, context
            try:
                raise aborted.with_traceback(None)
            finally:
                del aborted

        return call

    async def _call(self, method: str, behaviour: Behaviour, request: Any, context: Context) -> Any:
        metadata = texts_of(context.invocation_metadata() or ())
        identity = logs.request_identity(metadata.get(REQUEST_ID_KEY))
        with (
            logs.request_context(identity),
            self._metrics.requests_in_flight.labels("grpc").track_inprogress(),
            self._traces.request(
                method, request_id=identity, traceparent=metadata.get("traceparent")
            ) as trace,
        ):
            answering = _answer(behaviour, request, context, identity)
            return await self._counted(method, answering, context, trace)

    async def _counted(
        self, method: str, answering: Awaitable[Any], context: Context, trace: RequestTrace
    ) -> Any:
        began = time.perf_counter()
        allowed_less_time = self._allowed_less_time(method, context)
        code, blame = grpc.StatusCode.OK, Blame.NONE
        try:
            return await answering
        except ServiceError as err:
            code, blame = grpc_errors.CODES[type(err)], err.blame
            await grpc_errors.abort(context, err)
        except NotTaken as err:
            code, blame = grpc.StatusCode.CANCELLED, Blame.CALLER
            self._metrics.answers_dropped.labels("grpc").inc()
            logger.info("the call was cancelled: %s", err)
            grpc_errors.cancel(context, str(err))
            raise asyncio.CancelledError from err
        except (asyncio.CancelledError, grpc.aio.InternalError) as err:
            late = context.time_remaining() == 0
            code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            blame = Blame.SERVICE if late else Blame.CALLER
            logger.info("the caller's deadline passed" if late else "the caller left")
            # The library reports a failed batch, such as a write, in the moment before it cancels.
            raise asyncio.CancelledError from err
        except Exception:
            logger.exception("unexpected error")
            code, blame = grpc.StatusCode.INTERNAL, Blame.SERVICE
            unexpected = Internal("an unexpected error; the log records it under this request id")
            await grpc_errors.abort(context, unexpected)
        finally:
            seconds = None if method == "stream_pose" else time.perf_counter() - began
            if code is grpc.StatusCode.DEADLINE_EXCEEDED and allowed_less_time:
                blame = Blame.CALLER
            trace.answered(code=code.name, failed=blame is Blame.SERVICE)
            self._metrics.request_done(
                "grpc", method=method, code=code.name, blame=blame, seconds=seconds
            )
            logger.debug("%s", method, extra={"status": code.name, "seconds": seconds})

    def _allowed_less_time(self, method: str, context: Context) -> bool:
        # How long a stream goes on is its caller's choice alone.
        return method == "stream_pose" or is_shorter(
            context.time_remaining(), than=self._request_timeout_seconds
        )


async def _answer(behaviour: Behaviour, request: Any, context: Context, identity: str) -> Any:
    greeting = Greeting(context, ((REQUEST_ID_KEY, identity),))
    try:
        answer = await behaviour(request, context, greeting)
    except (NotTaken, grpc.aio.InternalError):
        raise
    except Exception:
        await greeting.send()
        raise
    else:
        await greeting.send()
        return answer
    finally:
        greeting.withdraw()


def _plain(behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Behaviour:
    """The behaviour of a call whose one message the library has read."""

    async def call(request: Any, context: Context, _: Greeting) -> Any:
        return await behaviour(request, context)

    return call


def _reading(
    behaviour: Callable[[Messages, Context], Awaitable[Any]], *, lingers: bool = True
) -> Behaviour:
    """The behaviour with the call's messages; a stream's refusal waits for what is being sent."""

    async def read(_: Any, context: Context, greeting: Greeting) -> Any:
        messages = Messages(context, greeting)
        try:
            return await behaviour(messages, context)
        except ServiceError:
            # The only message of a call goes out together with the call, so no write can fail.
            if lingers:
                await messages.linger()
            raise

    return read


def _refusing(error: ServiceError, *, streaming: bool) -> Behaviour:
    async def refuse(_: Any, __: Context, ___: Greeting) -> None:
        if streaming:
            # The same wait as after a refusal that follows reading, but nothing is read.
            await asyncio.sleep(LINGER_SECONDS)
        raise error

    # Without the frames that led here, which hold what this function does.
    error = copy(error).with_traceback(None)
    return refuse
