"""The application: routes, what each refuses and why, and the life of the thread that computes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from glotune.data.encoding import Text, Tokens
from glotune.errors import UserError
from glotune.serve.batching import Batcher, Logits, QueueFull, Stopped
from glotune.serve.limits import Limits
from glotune.serve.metrics import Metrics
from glotune.serve.wire import ErrorResponse, Info, PredictRequest, Refused, Scored
from glotune.verbs.predict import Predictor, problem_of

Answers = list[Scored] | list[list[Scored]]


@dataclass(frozen=True)
class Settings:
    """Limits of a server.

    Raises:
        UserError: requests may be larger than the queue, which would never take them.
    """

    max_wait: float = 0.005
    """Seconds that a text waits for others while nothing is computed."""
    batch_tokens: int = 2048
    """Tokens of a batch."""
    queue_size: int = 512
    """Texts that may wait."""
    max_batch: int = 32
    """Texts of one request."""
    max_body: int = 2_000_000
    """Bytes of one request."""
    timeout: float = 30.0
    """Seconds for a request's body to come, and again for its answer."""
    auto_truncate: bool = False
    """Texts that are too long are cut where a request doesn't say."""
    token: str | None = None
    """That requests must bear."""

    def __post_init__(self) -> None:
        if self.max_batch > self.queue_size:
            raise UserError(
                f"--max-batch {self.max_batch} with --queue {self.queue_size}: a batch of that size never fits",
                expected="a queue that holds the largest batch",
                remedy=f"Set --queue {self.max_batch}, or --max-batch {self.queue_size}",
            )


def build_app(predictor: Predictor, name: str, settings: Settings) -> Any:
    """The ASGI application of one classifier.

    Args:
        predictor: used by nothing else meanwhile.
        name: of the model, for ``/info``.
    """
    service = Service(predictor, name, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.batcher.start()
        yield
        await asyncio.to_thread(service.batcher.stop, settings.timeout)

    app = FastAPI(
        title="glotune",
        version=version("glotune"),
        description=f"Text classification by {name}: the requests and answers of text-embeddings-inference.",
        lifespan=lifespan,
    )
    service.add_routes(app)
    return Limits(app, max_body=settings.max_body, read_seconds=settings.timeout, token=settings.token)


class Service:
    """One classifier and its counters."""

    def __init__(self, predictor: Predictor, name: str, settings: Settings) -> None:
        self.predictor, self.name, self.settings = predictor, name, settings
        self.metrics = Metrics(lambda: self.batcher.queued)
        self.batcher = Batcher(
            predictor.engine, settings.max_wait, settings.batch_tokens, settings.queue_size, self.metrics.batch
        )

    def add_routes(self, app: FastAPI) -> None:
        """``/predict``, ``/health``, ``/info``, ``/metrics``, and what each error looks like."""
        codes = {
            408: "Too slow",
            413: "Too large",
            422: "Malformed",
            424: "Model failed",
            429: "Overloaded",
            504: "Timeout",
        }
        errors: dict[int | str, dict[str, Any]] = {
            code: {"model": ErrorResponse, "description": text} for code, text in codes.items()
        }
        app.add_api_route("/predict", self.predict, methods=["POST"], response_model=Answers, responses=errors)
        app.add_api_route("/", self.predict, methods=["POST"], include_in_schema=False, response_model=Answers)
        for path in ("/health", "/ping"):
            app.add_api_route(path, self.health, methods=["GET"], include_in_schema=path == "/health")
        app.add_api_route("/info", self.info, methods=["GET"], response_model=Info)
        app.add_api_route("/metrics", self.page, methods=["GET"], response_class=Response)
        app.add_exception_handler(Refused, self.refuse)
        app.add_exception_handler(RequestValidationError, self.refuse_malformed)
        app.add_exception_handler(HTTPException, self.refuse_http)
        app.add_exception_handler(Exception, self.fail)

    async def predict(self, asked: PredictRequest) -> Answers:
        """Labels with their scores, highest first, for a text, a pair, or a batch."""
        started = time.perf_counter()
        texts = asked.texts()
        self._check(texts)
        encoded, logits_NC = await self._in_time(texts, asked.truncate)
        if not np.isfinite(logits_NC).all():
            raise Refused(424, "Backend", "score is NaN")
        scores_NC = logits_NC if asked.raw_scores else self.predictor.read(logits_NC)[0]
        answers = [self._sorted(scores_C) for scores_C in scores_NC.tolist()]
        self._count(encoded, time.perf_counter() - started)
        return answers if asked.is_batch else answers[0]

    async def health(self) -> Response:
        """200 while texts are answered, 503 otherwise."""
        if not self.batcher.is_alive:
            raise Refused(503, "Unhealthy", "unhealthy")
        return Response()

    async def info(self) -> Info:
        """What is served, and its limits."""
        labels, calibration = self.predictor.labels, self.predictor.calibration
        thresholds = self.predictor.stated_thresholds
        classes = {
            "id2label": {str(index): label for index, label in enumerate(labels)},
            "label2id": {label: index for index, label in enumerate(labels)},
        }
        precision = self.predictor.engine.model.precision
        return Info(
            model_id=self.name,
            model_dtype={"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}.get(precision, precision),
            model_type={"classifier": classes},
            max_concurrent_requests=self.settings.queue_size,
            max_input_length=self.predictor.max_length,
            max_batch_tokens=self.settings.batch_tokens,
            max_client_batch_size=self.settings.max_batch,
            auto_truncate=self.settings.auto_truncate,
            tokenization_workers=1,
            version=version("glotune"),
            problem_type=self.predictor.kind.problem_type,
            thresholds=dict(zip(labels, thresholds, strict=True)) if thresholds else None,
            calibration=calibration and {"temperature": calibration.temperature, "threshold": calibration.threshold},
        )

    async def page(self) -> Response:
        """Counters in Prometheus's format."""
        return Response(self.metrics.page(), media_type=self.metrics.content_type)

    def _check(self, texts: Sequence[Text]) -> None:
        if not texts:
            raise Refused(422, "Validation", "`inputs` cannot be empty")
        if len(texts) > self.settings.max_batch:
            message = f"batch size {len(texts)} > maximum allowed batch size {self.settings.max_batch}"
            raise Refused(413, "Validation", message)
        for number, text in enumerate(texts, 1):
            problem = problem_of(text, self.predictor.takes_pairs)
            if problem is not None:
                hint = '; a batch of texts is [["first"], ["second"]]' if isinstance(text, tuple) else ""
                raise Refused(422, "Validation", f"text {number} of `inputs` is {problem}{hint}")

    def _check_lengths(self, encoded: Sequence[Tokens], truncate: bool | None) -> None:
        if self.settings.auto_truncate if truncate is None else truncate:
            return
        if any(each.is_cut for each in encoded):
            longest, limit = max(each.raw_length for each in encoded), self.predictor.max_length
            raise Refused(413, "Validation", f"`inputs` must have at most {limit} tokens. Given: {longest}")

    async def _in_time(self, texts: Sequence[Text], truncate: bool | None) -> tuple[list[Tokens], Logits]:
        try:
            async with asyncio.timeout(self.settings.timeout):
                encoded = await self.batcher.encode(texts)
                self._check_lengths(encoded, truncate)
                return encoded, await self._logits(encoded)
        except QueueFull:
            raise Refused(429, "Overloaded", "Model is overloaded") from None
        except TimeoutError:
            raise Refused(504, "Overloaded", f"no answer within {self.settings.timeout:g} s") from None
        except Stopped:
            raise Refused(503, "Unhealthy", "the server is ending") from None

    async def _logits(self, encoded: Sequence[Tokens]) -> Logits:
        try:
            return await self.batcher.logits(encoded)
        except (QueueFull, Stopped):
            raise
        except Exception as error:
            raise Refused(424, "Backend", f"inference failed ({type(error).__name__})") from error

    def _sorted(self, scores_C: Sequence[float]) -> list[Scored]:
        order = sorted(range(len(scores_C)), key=lambda index: -scores_C[index])
        return [Scored(score=scores_C[index], label=self.predictor.labels[index]) for index in order]

    def _count(self, encoded: Sequence[Tokens], seconds: float) -> None:
        self.metrics.requests.labels("200").inc()
        self.metrics.seconds.observe(seconds)
        self.metrics.texts.inc(len(encoded))
        self.metrics.truncated.inc(sum(each.is_cut for each in encoded))
        self.metrics.outside.inc(sum(each.is_outside for each in encoded))

    def _error(self, status: int, error_type: str, message: str) -> JSONResponse:
        self.metrics.requests.labels(str(status)).inc()
        return JSONResponse({"error": message, "error_type": error_type}, status)

    async def refuse(self, _: Request, error: Exception) -> Response:
        """A request that we refuse."""
        assert isinstance(error, Refused)
        return self._error(error.status, error.error_type, error.message)

    async def refuse_malformed(self, _: Request, error: Exception) -> Response:
        """A body that is no JSON, or other JSON than asked for; it is not quoted back."""
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return self._error(400, "Validation", f"the body is no JSON, from character {first['loc'][-1]} on")
        where = ".".join(str(part) for part in first["loc"][1:2]) or "body"
        return self._error(422, "Validation", f"{where}: {first['msg']}")

    async def refuse_http(self, _: Request, error: Exception) -> Response:
        """An unknown path or method, or a body that can't be read at all."""
        assert isinstance(error, HTTPException)
        return self._error(error.status_code, "Validation", str(error.detail))

    async def fail(self, _: Request, error: Exception) -> Response:
        """A fault of ours."""
        return self._error(500, "Backend", f"internal error ({type(error).__name__})")
