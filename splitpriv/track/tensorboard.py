"""TensorBoard, written without torch: the process sits beside a run for as long as that trains."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from splitpriv import plain
from splitpriv.measure.flags import flags_of
from splitpriv.measure.pictures import grid
from splitpriv.store import Row, Store
from splitpriv.track.base import Tracker, numbers, pictures, settings
from splitpriv.types import UserError


class TensorBoard(Tracker):
    """Event files, one folder per run; curves grow while it trains."""

    live = True

    def begin(self, run_id: str, head: Row, home: Path, sent: int) -> int:
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise UserError("track: tensorboard is not installed; pip install 'splitpriv[tensorboard]'") from error
        self.writer = EventFileWriter(str(home / run_id))
        if not sent:
            self._text("config", f"```json\n{plain.dumps(settings(head), indent=1)}\n```")
        return sent

    def add(self, index: int, curve: str, step: int, values: dict[str, float]) -> None:
        self._write(step, **{f"{curve}/{name}": {"simple_value": value} for name, value in values.items()})

    def flush(self) -> bool:
        self.writer.flush()
        return True

    def complete(self, row: Row, store: Store) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(0, **{name: {"simple_value": value} for name, value in numbers(row).items()})
        for name, shown in pictures(row, store).items():
            page, encoded = grid(shown, f"{row['chain']} attacked by {name}"), io.BytesIO()
            page.save(encoded, "PNG")
            image = Summary.Image(width=page.width, height=page.height, colorspace=3,
                                  encoded_image_string=encoded.getvalue())  # fmt: skip
            self._write(0, **{f"reconstructions/{name}": {"image": image}})
        lines = [f"{f.text} ({f.way})" for f in flags_of(row)]
        self._text("flags", "\n\n".join(lines) or "none")

    def end(self, finished: bool) -> None:
        self.writer.close()

    def _write(self, step: int, **values: dict[str, Any]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._event(step, Summary(value=[Summary.Value(tag=tag, **value) for tag, value in values.items()]))

    def _text(self, tag: str, text: str) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._event(0, text_pb(tag, text))

    def _event(self, step: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
