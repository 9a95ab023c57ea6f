"""How the data part tells its caller how far it is. It prints nothing itself."""

from collections.abc import Callable

# (stage in words, bytes done, bytes in all or None when unknown); 0 of None: only its time is counted. It is called often, so it
# must be cheap.
OnProgress = Callable[[str, int, int | None], None]


def silent(stage: str, done_bytes: int, total_bytes: int | None) -> None:
    pass
