"""What ``/metrics`` shows: requests, texts, batches and the queue, in a registry of the server's own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TOKENS = (16, 64, 256, 1024, 4096, 16_384)


class Metrics:
    """Counters of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, queued: Callable[[], int]) -> None:
        """`queued` says how many texts wait."""
        self.registry = registry = CollectorRegistry()

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"glotune_{name}", meaning, labels, registry=registry)

        def histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"glotune_{name}", meaning, buckets=buckets, registry=registry)

        self.requests = counter("requests", "Requests for predictions", "status")
        self.seconds = histogram("request_seconds", "From a request to its answer", SECONDS)
        self.texts = counter("texts", "Texts answered")
        self.truncated = counter("texts_truncated", "Texts longer than the model reads")
        self.outside = counter("texts_outside", "Texts with pieces that were cut from the vocabulary")
        self.batch_texts = histogram("batch_texts", "Texts of a batch", TEXTS)
        self.batch_tokens = histogram("batch_tokens", "Tokens of a batch", TOKENS)
        self.batch_seconds = histogram("batch_seconds", "The model's time for a batch", SECONDS)
        Gauge("glotune_queued_texts", "Texts that wait", registry=registry).set_function(queued)

    def batch(self, texts: int, tokens: int, seconds: float) -> None:
        """One batch was computed."""
        self.batch_texts.observe(texts)
        self.batch_tokens.observe(tokens)
        self.batch_seconds.observe(seconds)

    def page(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self.registry)
