"""How much a request may say besides its body: uvicorn's fast parser takes any amount, and keeps it in memory."""

from __future__ import annotations

from sync_worker.whole_answers import WholeAnswers

HEAD_LIMIT = 64 * 1024


class LimitedHeads(WholeAnswers):
    """A connection. One that sends more than the limit without a piece of body coming of it is answered 400, and ended.

    Counted are whole receives (256 KiB at most), so address, headers, trailers and what stands around chunks all count.
    """

    _besides = 0
    _moved = False

    def data_received(self, data: bytes) -> None:
        self._moved = False
        super().data_received(data)
        self._besides = 0 if self._moved else self._besides + len(data)
        if self._besides > HEAD_LIMIT and not self.transport.is_closing():
            self.send_400_response("Address and headers are too large.")

    def on_headers_complete(self) -> None:
        self._moved = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._moved = True
        super().on_message_complete()
