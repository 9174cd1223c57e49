"""The web application: `/score`, `/health`, `/metrics`, `/reload` and `/openapi.json`.

Promises: a request that is wrong gets 400 with what is wrong and where; one that is too large 413, one that
does not arrive in time 408; neither takes memory beyond the bound. Scores are computed in threads of their
own, so that no request waits for another's scores to be told that the service is well.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from specc_runtime.devices import DeviceError
from specc_runtime.files import FileError
from specc_runtime.record import ArtefactError
from specc_runtime.retrieval import RetrievalError, Stages
from specc_runtime.serve.schema import answer_schema, found_schema, request_schema
from specc_runtime.serve.service import Answer, BadRequest, Service, Wish

T = TypeVar("T")
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


_PATHS = ("POST /score", "GET /health", "GET /metrics", "POST /reload", "GET /openapi.json")


class _TooLarge(Exception):
    """A body beyond the bound."""


class Metrics:
    """What is counted of a service."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("arec_requests", "Requests for scores.", ["status"], registry=self.registry)
        self.seconds = Histogram(
            "arec_score_seconds",
            "From a whole request to its scores.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.candidates = Counter("arec_candidates", "Candidates that got scores.", registry=self.registry)
        self.reloads = Counter("arec_reloads", "Models that took over.", registry=self.registry)
        states = {
            "bytes": "Memory of the request states that are kept.",
            "hits": "Requests whose state was kept.",
            "misses": "Requests whose state was not.",
        }
        for name, about in states.items():
            gauge = Gauge(
                f"arec_states_{name}", f"{about} Of the model that is served now.", registry=self.registry
            )
            gauge.set_function(lambda name=name: getattr(service.scorer.states, name))  # type: ignore[misc]
        self.model = Gauge(
            "arec_model", "The model that is served.", ["name", "version"], registry=self.registry
        )
        self.serves(service)

    def serves(self, service: Service) -> None:
        self.model.clear()
        self.model.labels(service.scorer.manifest["name"], service.scorer.version).set(1)


def application(service: Service, threads: int) -> FastAPI:
    """The application of a service. threads: requests that are scored at once."""
    metrics = Metrics(service)
    limits = service.limits

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(threads) as scoring, ThreadPoolExecutor(1) as loading:
            app.state.scoring, app.state.loading = scoring, loading
            yield

    about = service.scorer.manifest
    app = FastAPI(
        title=f"Scores of {about['name']}", version=service.scorer.version[:12] or "0", lifespan=lifespan,
        docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip

    @app.post("/score", openapi_extra=_described(service), response_class=Response)
    async def score(
        request: Request,
        top: Annotated[int | None, Query(ge=1, description="Only the best so many, the best first.")] = None,
        by: Annotated[str | None, Query(description="What the best are the best by; else the first.")] = None,
        seed: Annotated[int, Query(ge=0, description="For the order of equal scores (0).")] = 0,
    ) -> Response:
        scorer = service.scorer  # to the end, whatever takes over meanwhile
        try:
            async with asyncio.timeout(limits.seconds):
                body = await _body(request, limits.body)
            if (packed := request.headers.get("content-encoding", "identity")) != "identity":
                raise BadRequest(f"the request is packed ({packed}): send it as it is")
            begin = time.perf_counter()
            wish = _wish(request, top, by, seed)
            found, number = await _within(
                app.state.scoring, lambda: _written(service.answer(scorer, body, wish))
            )
            metrics.seconds.observe(time.perf_counter() - begin)
            metrics.candidates.inc(number)
            response = Response(found, media_type="application/json")
        except TimeoutError:
            what = f"the request did not arrive within {limits.seconds:g} seconds"
            response = _fault(408, {"error": what}, close=True)
        except _TooLarge:
            what = f"the request is larger than {limits.body:,} bytes"
            response = _fault(413, {"error": what}, close=True)
        except BadRequest as error:
            response = _fault(400, error.about)
        except ClientDisconnect:
            response = _fault(400, {"error": "the client went away"})
        response.headers["x-model-version"] = scorer.version
        metrics.requests.labels(str(response.status_code)).inc()
        return response

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> Response:
        faults = [(str(fault["loc"][-1]), fault["msg"]) for fault in error.errors()]
        metrics.requests.labels("400").inc()
        what = "; ".join(f"`{name}`: {message}" for name, message in faults)
        return _fault(400, {"error": what, "parameter": faults[0][0]})

    @app.exception_handler(HTTPException)
    async def tell(request: Request, error: HTTPException) -> Response:
        what = f"there is no {request.method} {request.url.path}; there are {', '.join(_PATHS)}"
        return _fault(error.status_code, {"error": what})

    @app.head("/health", include_in_schema=False)  # which balancers of load ask
    @app.get("/health")
    async def health() -> dict[str, Any]:
        """The model that is served."""
        return {"status": "ok", **_who(service)}

    @app.get("/metrics", response_class=Response)
    async def read_metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.post("/reload", response_class=Response)
    async def reload() -> Response:
        """Serve the model as its folder has it now, once it is warm; the one before serves until then."""
        try:
            await _within(app.state.loading, service.reload)
        except (ArtefactError, RetrievalError, DeviceError, FileError, OSError) as error:
            return _fault(409, {"error": str(error), "serving": service.scorer.version})
        metrics.reloads.inc()
        metrics.serves(service)
        return Response(_json({"status": "ok", **_who(service)}), media_type="application/json")

    return app


def _wish(request: Request, top: int | None, by: str | None, seed: int) -> Wish:
    """What is asked for. Raises BadRequest for a parameter that is none, and for one that is there twice."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in ("top", "by", "seed"):
            raise BadRequest(f"there is no parameter `{name}`; there are top, by and seed", parameter=name)
        if name in seen:
            raise BadRequest(f"`{name}` is there twice", parameter=name)
        seen.add(name)
    return Wish(top, by, seed)


async def _within(pool: Executor, work: Callable[[], T]) -> T:
    """What some work gives, done in a thread of a pool."""
    return await asyncio.get_running_loop().run_in_executor(pool, work)


async def _body(request: Request, most: int) -> bytes:
    """A request's body. Raises _TooLarge as soon as there is more of it than the bound."""
    given = request.headers.get("content-length", "")
    if given.isdigit() and int(given) > most:
        raise _TooLarge
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)


def _who(service: Service) -> dict[str, Any]:
    """The model that is served, and what runs it."""
    served, engine = service.scorer, service.scorer.engine
    found: dict[str, Any] = {
        "model": served.manifest["name"],
        "version": served.version,
        "engine": engine.name,
    }
    if engine.milliseconds:
        found["milliseconds"] = {name: round(ms, 3) for name, ms in engine.milliseconds.items()}
    return found | ({"left_out": dict(engine.left_out)} if engine.left_out else {})


def _written(answer: Answer) -> tuple[bytes, int]:
    """An answer in JSON, and how many candidates got scores."""
    return _json(answer.row), answer.candidates


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _fault(status: int, about: dict[str, Any], close: bool = False) -> Response:
    headers = {"connection": "close"} if close else {}
    return Response(_json(about), status, headers, "application/json")


def _described(service: Service) -> dict[str, Any]:
    """What OpenAPI says of `/score`."""
    served = service.scorer
    manifest = served.manifest
    answer = found_schema(served) if isinstance(served, Stages) else answer_schema(manifest)
    fault = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    responses = {"400": "What is wrong with it.", "408": "It came too slowly.", "413": "It is too large."}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request_schema(manifest)}},
        },
        "responses": {
            "200": {
                "description": "Scores, as `specc score` gives them.",
                "content": {"application/json": {"schema": answer}},
            },
            **{
                code: {"description": about, "content": {"application/json": {"schema": fault}}}
                for code, about in responses.items()
            },
        },
    }
