"""Files to documents: every kind that is read, and a line that names file and line for what can't be."""

import gzip
import itertools
import json

import pyarrow
import pyarrow.parquet
import pytest

from autoresearch.data.readers import GAP_BYTES, PIECE_BYTES, pieces, read, to_utf8
from autoresearch.errors import UsageError


@pytest.mark.parametrize("suffix", [".txt", ".md", ".py", ".TXT"])
def test_a_text_file_is_one_document_with_its_own_bytes(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes("\ufeffline\r\nöäü\n".encode())
    assert list(read(path)) == ["\ufeffline\r\nöäü\n".encode()]


def test_jsonl_gives_the_field_text_or_the_only_string(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one", "url": "u"}\n\n{"story": "zw\\u00f6i", "n": 2}\n', encoding="utf-8")
    assert list(read(path)) == [b"one", "zwöi".encode()]


MESSAGES = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Böcause."}]
SHARED = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]


def test_a_conversation_is_written_out_turn_by_turn(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"id": "x", "messages": MESSAGES}, {"source": "s", "conversations": SHARED}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    talk = "user: Why?\n\nassistant: Böcause.".encode()
    assert list(read(path)) == [talk, b"human: Why?\n\ngpt: So."]
    for broken in ([1], [{"role": "user", "content": 3}], [{"content": "x"}], {"role": "user"}):
        path.write_text(json.dumps({"id": "x", "url": "u", "messages": broken}) + "\n")
        with pytest.raises(UsageError, match=r'a\.jsonl:1: no field "text" that holds text \(fields: id, url, messages\)'):
            list(read(path))
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "u"}}, {"type": "text", "text": "this"}]
    calls = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "7"},
    ]
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in (calls, [], [{"role": "user", "content": None}])))
    assert list(read(path)) == [b"user: see\n\nthis\n\ntool: 7", b"", b""], "an empty one is no document"
    table = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": ["x", "y"], "other": ["u", "v"], "messages": [MESSAGES, None]}), table)
    assert list(read(table)) == [talk]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_the_field_that_holds_the_text_may_be_named_and_several_are_joined(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    rows = [{"prompt": "2 + 2", "answer": "4", "text": "no"}, {"prompt": "who?", "answer": "", "text": "no"}]
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == ".csv":
        path.write_text("prompt,answer,text\n2 + 2,4,no\nwho?,,no\n")
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert list(read(path, "prompt")) == [b"2 + 2", b"who?"]
    assert list(read(path, "prompt, answer")) == [b"2 + 2\n\n4", b"who?"]
    with pytest.raises(UsageError, match=r'"nothing" that holds text \((field|column)s: prompt, answer, text\)'):
        list(read(path, "nothing"))
    if suffix != ".jsonl":
        with pytest.raises(UsageError, match=r'no column "nothing" that holds text'):
            list(read(path, "prompt,nothing"))


def test_a_row_without_the_field_that_was_named_is_no_document(tmp_path):
    """One of 2,500 rows refused the whole text."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"story": "one", "n": 1}\n{"title": "x"}\n{"story": null}\n{"story": "two"}\n')
    assert list(read(path, "story")) == [b"one", b"two"]
    path.write_text('{"story": 3}\n')
    with pytest.raises(UsageError, match=r'a\.jsonl:1: no field "story" that holds text'):
        list(read(path, "story"))


def test_a_row_whose_text_is_null_is_no_document(tmp_path):
    """Another string of the row, its address, had been trained on in its place."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": null, "url": "https://example.org"}\n{"text": "one", "url": "u"}\n', encoding="utf-8")
    assert list(read(path)) == [b"one"]


@pytest.mark.parametrize("kind", ["string_view", "binary", "large_binary", "dictionary"])
def test_parquet_text_of_every_kind(tmp_path, kind):
    values = [b"a", None, "\u00e9".encode()] if "binary" in kind else ["a", None, "\u00e9"]
    types = {"dictionary": pyarrow.dictionary(pyarrow.int32(), pyarrow.string())}
    wanted = types.get(kind) or getattr(pyarrow, kind)()
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2, 3], "text": pyarrow.array(values, type=wanted)}), path)
    assert list(read(path)) == [b"a", "\u00e9".encode()]


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"a": "x", "b": "y"}', '{"text": 3}', '"text"', '{"text": 3, "url": "u"}', "[" * 100_000]
)
def test_jsonl_names_the_line_that_it_cannot_use(tmp_path, line):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"a\.jsonl:2: .*(each line must be like|--corpus PATH#NAME)"):
        list(read(path))


def test_parquet_gives_the_column_text_or_the_only_string_column(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"id": ["x", "y"], "text": ["öne", None]}), path)
    assert list(read(path)) == ["öne".encode()]
    pyarrow.parquet.write_table(pyarrow.table({"id": [1, 2], "story": ["a", "b"]}), path)
    assert list(read(path)) == [b"a", b"b"]


def test_parquet_names_its_columns_when_none_is_text(tmp_path):
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"one": ["x"], "two": ["y"]}), path)
    with pytest.raises(UsageError, match=r'a\.parquet: no column "text" that holds text \(columns: one, two\)'):
        list(read(path))


def test_a_parquet_file_that_is_none_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"not parquet at all")
    with pytest.raises(UsageError, match=r"a\.parquet: not a readable parquet file"):
        list(read(path))


def test_a_file_that_went_away_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"a\.txt can't be read"):
        list(read(tmp_path / "a.txt"))


def test_what_is_not_utf8_is_replaced_and_said_so(tmp_path):
    assert to_utf8("schön".encode()) == ("schön".encode(), False)
    assert to_utf8(b"\x00\xff\xfe\x81") == ("\x00\ufffd\ufffd\ufffd".encode(), True)
    assert to_utf8(b"a\x00b") == (b"a\x00b", False)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "half \\ud83d a pair"}\n', encoding="utf-8")
    (raw,) = read(path)
    text, repaired = to_utf8(raw)
    assert repaired and text.decode().startswith("half \ufffd")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"])
def test_other_encodings_are_told_and_converted(encoding):
    text = "Der schöne Müller, fünf Äpfel für 3 Groschen.\n" * 20
    assert to_utf8(text.encode(encoding)) == (text.encode(), True)


LONG = ["".join(f"ä line of text, {k}\n" for k in range(9000)), "".join(f"ünïcode {k} " for k in range(9000)), "short"]


@pytest.mark.parametrize("text", LONG)
def test_a_long_text_is_cut_into_pieces_with_gaps(text):
    raw = text.encode()
    found = list(pieces(raw))
    assert all(piece.decode() and len(piece) <= PIECE_BYTES + 3 for piece in found)
    places, at = [], 0
    for piece in found:
        at = raw.index(piece, at)
        places.append((at, at + len(piece)))
        at += len(piece)
    assert places[0][0] == 0
    assert all(GAP_BYTES <= begin - end <= GAP_BYTES + 3 for (_, end), (begin, _) in itertools.pairwise(places))
    assert sum(map(len, found)) > 0.97 * len(raw)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz"])
def test_a_table_gives_its_column_text(tmp_path, name):
    path, between = tmp_path / name, "\t" if ".tsv" in name else ","
    lines = [between.join(row) for row in (("id", "text"), ("1", '"one, with a comma\nand a line"'), ("2", ""), ("3", "zwö"))]
    content = ("\ufeff" + "\n".join(lines)).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(read(path)) == [b"one, with a comma\nand a line", "zwö".encode()]


def test_a_table_without_a_column_of_text_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("one,two\n1,2\n")
    with pytest.raises(UsageError, match=r'a\.csv: no column "text" that holds text \(columns: one, two\)'):
        list(read(tmp_path / "a.csv"))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_text(tmp_path, suffix):
    def packed(content: bytes) -> bytes:
        return gzip.compress(content) if suffix == ".gz" else pyarrow.compress(content, codec="zstd", asbytes=True)

    (tmp_path / f"a.txt{suffix}").write_bytes(packed("schön".encode()))
    assert list(read(tmp_path / f"a.txt{suffix}")) == ["schön".encode()]
    (tmp_path / f"a.jsonl{suffix}").write_bytes(packed(b'{"text": "one"}\n{"text": "two"}\n'))
    assert list(read(tmp_path / f"a.jsonl{suffix}")) == [b"one", b"two"]
    (tmp_path / f"b.txt{suffix}").write_bytes(packed(b"x" * 1000)[:-8])
    with pytest.raises(UsageError, match=r"b\.txt.*can't be read"):
        list(read(tmp_path / f"b.txt{suffix}"))


@pytest.mark.parametrize(
    "text",
    [
        "L'\u00e9t\u00e9 o\u00f9 j'\u00e9tais",
        "\u00dcber die Stra\u00dfe",
        "\u041f\u0440\u0438\u0432\u0435\u0442",
        "x" * 90_000 + "\u201cHello\u201d \u4f60\u597d",
    ],
)
@pytest.mark.parametrize("broken", [b"\xff", b"\xe4\xbd", b"a\xffb"])
def test_one_broken_byte_makes_no_other_encoding_of_a_text(text, broken):
    found, mended = to_utf8(text.encode() + broken)
    assert mended and found.startswith(text.encode()) and "\ufffd" in found.decode()


def test_other_columns_of_bytes_hide_no_column_of_text(tmp_path):
    path = tmp_path / "a.parquet"
    for other in (pyarrow.binary(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())):
        values = [b"x"] if other == pyarrow.binary() else ["x"]
        pyarrow.parquet.write_table(pyarrow.table({"content": ["one"], "other": pyarrow.array(values, type=other)}), path)
        assert list(read(path)) == [b"one"]
