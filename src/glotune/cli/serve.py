"""`glotune serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

TOKEN = "GLOTUNE_SERVE_TOKEN"


def serve(
    model: Annotated[
        Path,
        typer.Argument(metavar="RUN|EXPORT", help="A run, an export, or a folder with a saved text classifier."),
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on. Any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 3000,
    token: Annotated[
        str | None, typer.Option(envvar=TOKEN, help="Requests must bear it (Authorization: Bearer TOKEN).")
    ] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Apply the temperature that glotune calibrate fitted.")
    ] = False,
    auto_truncate: Annotated[
        bool, typer.Option("--auto-truncate", help="Cut texts that are too long, where a request does not say.")
    ] = False,
    max_wait: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a text waits for others to share a batch with.")
    ] = 5,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a batch.")] = 2048,
    queue: Annotated[int, typer.Option(min=1, help="Texts that may wait; requests for more are refused (429).")] = 512,
    max_batch: Annotated[int, typer.Option(min=1, help="Most texts of one request.")] = 32,
    max_body: Annotated[int, typer.Option(min=1, help="Most bytes of one request.")] = 2_000_000,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for a request to come, and for its answer.")] = 30,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        Literal["fp32", "bf16"], typer.Option(help="fp32: transformers' scores; bf16: faster, off by up to about 0.01.")
    ] = "fp32",
) -> None:
    """Serve a classifier over HTTP: the requests and answers of text-embeddings-inference's /predict."""
    from glotune.cli.console import say
    from glotune.errors import MissingExtra
    from glotune.run.directory import require_classifier
    from glotune.serve.limits import refuse_open_host

    require_classifier(model)
    refuse_open_host(host, token)
    try:
        from glotune.serve.app import Settings
        from glotune.serve.server import serve as run_server
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", "serve", "Serving a model") from error

    from glotune.verbs.predict import load

    settings = Settings(
        max_wait=max_wait / 1000,
        batch_tokens=batch_tokens,
        queue_size=queue,
        max_batch=max_batch,
        max_body=max_body,
        timeout=timeout,
        auto_truncate=auto_truncate,
        token=token or None,
    )
    predictor = load(model, calibrated=calibrated, device=device, precision=precision)
    run_server(
        predictor,
        model.resolve().name,
        settings,
        host=host,
        port=port,
        ready=lambda url: say(f"serving {model} on {url} (requests: {url}/docs); Ctrl-C or SIGTERM ends it"),
    )
