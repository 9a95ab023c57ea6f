"""The HTTP client that the SDKs get: no answer is larger than MOST_BYTES or takes longer than was said, and none leads elsewhere.

The SDKs and their HTTP library know a time without a byte only, and read an error's body, a list and an event whole into memory.
So the bytes are counted where they come in, packed answers are refused, and redirections are not followed: they would carry
program.md and train.py to another server.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from autoresearch.agents.base import Unavailable
from autoresearch.agents.llm.reply import Ended

MOST_BYTES = 64 << 20  # chosen: a hundred times the longest answer with its events


class Watch:
    """Of a client's present request: how long and how large its answer may be, and whether somebody waits for it."""

    def __init__(self) -> None:
        self.begin(math.inf)

    def begin(self, seconds: float, wanted: Callable[[], bool] = lambda: True) -> None:
        self._seconds, self._end, self._wanted, self._bytes = seconds, time.monotonic() + seconds, wanted, 0

    def look(self, size: int) -> None:
        """Before `size` more bytes are taken in. Raises Ended."""
        self._bytes += size
        if not self._wanted():
            raise Ended("ended early", Unavailable("nobody waits for the answer any more"))
        if time.monotonic() > self._end:
            raise Ended("timed out", Unavailable(f"no whole answer within {self._seconds:g} s"))
        if self._bytes > MOST_BYTES:
            raise Ended("endless answer", Unavailable(f"an answer of more than {MOST_BYTES >> 20} MB"))


def client(sdk: Any, watch: Watch) -> Any:
    """The SDK's own default client, watched."""
    import httpx2

    class Watched(httpx2.SyncByteStream):
        def __init__(self, inner: Any):
            self._inner = inner

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._inner:
                watch.look(len(chunk))
                yield chunk

        def close(self) -> None:
            self._inner.close()

    def ask_plain(request: Any) -> None:
        request.headers["accept-encoding"] = "identity"

    def take(response: Any) -> None:
        if (packed := response.headers.get("content-encoding", "identity")) != "identity":
            raise Ended("malformed answer", Unavailable(f"an answer packed as {packed[:40]!r}, which was not asked for"))
        watch.look(0)
        response.stream = Watched(response.stream)

    return sdk.DefaultHttpxClient(event_hooks={"request": [ask_plain], "response": [take]}, follow_redirects=False)
