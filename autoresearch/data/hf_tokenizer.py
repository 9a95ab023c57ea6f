"""The tokenizer in the JSON of Hugging Face's `tokenizers`, written by hand from the merge ranks.

Promises: the library gives the ids that tiktoken gives, BOS before a text included, and gives texts back. What is special: tiktoken
joins whichever two neighbours spell a token, and the library only pairs that are listed, so every pair that spells one is listed.
A text that spells BOS is BOS to the library, unless its `encode_special_tokens` is set; here it is text.
"""

from typing import Any

from autoresearch.data.tokenizer import BOS, PATTERN


def as_json(ranks: list[bytes]) -> dict[str, Any]:
    """What tokenizer.json holds. ranks: the tokens' bytes by id, BOS not among them."""
    ids = {token: rank for rank, token in enumerate(ranks)}
    merges = [pair for token in ranks for pair in _pairs(token, ids)]
    bos = {"id": BOS, "type_id": 0}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": len(ranks), "content": BOS, "special": True}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        ],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                byte_level,
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": bos}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": bos}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": bos}, {"Sequence": {"id": "B", "type_id": 0}},
            ],
            "special_tokens": {BOS: {"id": BOS, "ids": [len(ranks)], "tokens": [BOS]}},
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "ignore_merges": True,  # as tiktoken: a word that is a token is that token
            "vocab": {_spelled(token): rank for rank, token in enumerate(ranks)} | {BOS: len(ranks)},
            "merges": [[_spelled(left), _spelled(right)] for left, right in merges],
        },
    }  # fmt: skip


def _pairs(token: bytes, ids: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Every two tokens that together spell this one, those of the lowest ranks first."""
    found = [(token[:cut], token[cut:]) for cut in range(1, len(token)) if token[:cut] in ids and token[cut:] in ids]
    return sorted(found, key=lambda pair: (ids[pair[0]], ids[pair[1]]))


def _letters() -> list[str]:
    """GPT-2's letter for each byte (openai/gpt-2, encoder.py): itself where it can be seen, else one from 256 up, in order."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    letters, spare = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in seen else spare))
        spare += byte not in seen
    return letters


_LETTERS = _letters()


def _spelled(token: bytes) -> str:
    return "".join(_LETTERS[byte] for byte in token)
