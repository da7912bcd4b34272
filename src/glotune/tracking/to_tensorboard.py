"""TensorBoard: event files under ``RUN/tracking/tensorboard``, written with TensorBoard's own writer, without torch.

``tensorboard --logdir runs`` finds those of every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from glotune.tracking.messages import About, Closing, Notice, Point

DT_STRING = 7
"""`tensorboard.compat.proto.types_pb2.DT_STRING`."""


class TensorBoardSink:
    """Scalars, notices as text, the recipe as hyperparameters, pictures, the report as text."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last = (0, 0.0)

    def open(self, about: About, remote: str | None) -> tuple[str, str]:
        """A new event file in the same folder continues the run."""
        self._writer = EventFileWriter(str(self._folder))
        if remote is None:
            known = {
                name: value if isinstance(value, bool | int | float) else str(value)
                for name, value in about.parameters.items()
            }
            self._add(hparams_pb(known, about.id, about.created), 0, about.created)
            listed = "\n".join(f"| {name} | {value} |" for name, value in known.items())
            self._text("recipe", f"| key | value |\n| --- | --- |\n{listed}", 0, about.created)
        return about.id, f"tensorboard --logdir {self._folder}"

    def points(self, points: list[Point]) -> None:
        """One summary a point."""
        for point in points:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
            self._add(Summary(value=values), point.step, point.time)

    def notice(self, notice: Notice) -> None:
        """Text under its kind."""
        self._text(f"notices/{notice.kind}", notice.message, notice.step, notice.time)

    def close(self, closing: Closing | None) -> None:
        """Final scores as scalars at the last step, so that the hyperparameter table can show them."""
        if closing is not None:
            step, time = self._last
            numbers = {name: value for name, value in closing.summary.items() if isinstance(value, float | int)}
            self.points([Point(step, time, {name: float(value) for name, value in numbers.items()})])
            words = [f"- {name}: {value}" for name, value in closing.summary.items() if isinstance(value, str)]
            self._text("summary", "\n".join(words), step, time)
            for path in closing.pictures:
                self._picture(path, step, time)
            for path in closing.files:
                if path.suffix == ".md":
                    name = "model_card" if path.name == "README.md" else path.stem
                    self._text(name, path.read_text(encoding="utf-8"), step, time)
        self._writer.close()

    def _text(self, name: str, text: str, step: int, time: float) -> None:
        metadata = SummaryMetadata.FromString(create_summary_metadata(name, None).SerializeToString())
        tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()])
        self._add(Summary(value=[Summary.Value(tag=name, metadata=metadata, tensor=tensor)]), step, time)

    def _picture(self, path: Path, step: int, time: float) -> None:
        content = path.read_bytes()
        width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))  # PNG: the IHDR chunk
        image = Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=4)
        self._add(Summary(value=[Summary.Value(tag=f"figures/{path.stem}", image=image)]), step, time)

    def _add(self, summary: Any, step: int, time: float) -> None:
        self._last = (step, time)
        self._writer.add_event(Event(wall_time=time, step=step, summary=summary))
