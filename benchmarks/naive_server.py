"""The server that a first try makes: FastAPI, a pipeline, and a lock. What `glotune serve` is measured against."""

from __future__ import annotations

import sys
import threading

import torch
import uvicorn
from fastapi import FastAPI
from transformers import pipeline


def main(folder: str, max_length: int) -> None:
    """Serves ``/predict`` for one text at a time on any free port."""
    classify = pipeline("text-classification", model=folder, dtype=torch.float32, top_k=None)
    lock = threading.Lock()
    app = FastAPI()

    @app.post("/predict")  # type: ignore[untyped-decorator]
    def predict(asked: dict[str, object]) -> object:
        with lock:
            return classify([str(asked["inputs"])], truncation=True, max_length=max_length)[0]

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="info", access_log=False)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
