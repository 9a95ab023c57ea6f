"""Text that others wrote (agents, logs, users), made fit for a table's cell, a terminal and a commit's subject."""

DESCRIPTION_CHARACTERS = 200  # chosen: of a row of results.tsv and a commit's subject


def one_line(text: str, limit: int = DESCRIPTION_CHARACTERS) -> str:
    """At most `limit` characters of text, with nothing in them that moves a cursor, breaks a line or turns writing round."""
    shown = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"
