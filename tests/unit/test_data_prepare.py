"""The prepared folder: what is in it is the corpus, all of it, and what isn't whole is not used."""

import itertools
import json
import random
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from tiktoken.load import load_tiktoken_bpe

from autoresearch import locks
from autoresearch.data import corpora
from autoresearch.data.prepare import prepare
from autoresearch.data.prepared import Prepared, checksum_of
from autoresearch.data.split import PIECE_BYTES, pieces
from autoresearch.errors import StoredStateError, UsageError

WORDS = [f"{a}{b}{c}" for a in "bcdfghk" for b in "aeiou" for c in "lmnrst"]


def text(seed: int, words: int = 120) -> str:
    return f"# {seed} äö\n" + " ".join(random.Random(seed).choices(WORDS, k=words)) + "\n"


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """A folder with 400 documents of about 500 bytes, and a cache."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    write_rows(tmp_path / "texts" / "texts.jsonl", map(text, range(400)))
    return tmp_path / "texts"


def write_rows(path: Path, documents: Iterable[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"text": document}) + "\n" for document in documents), encoding="utf-8")


def documents(prepared: Prepared, part: str) -> list[bytes]:
    """Decoded from the files alone, by the ids' bytes."""
    spelling = {rank: token for token, rank in load_tiktoken_bpe(str(prepared.folder / "ranks.tiktoken")).items()}
    tokens = np.fromfile(prepared.folder / part / "tokens.bin", prepared.dtype)
    starts = np.load(prepared.folder / part / "starts.npy")
    assert starts.dtype == np.int64 and (tokens[starts] == prepared.bos_id).all()
    assert (tokens == prepared.bos_id).sum() == len(starts)
    bounds = [*starts.tolist(), len(tokens)]
    return [b"".join(spelling[token] for token in tokens[start + 1 : end].tolist()) for start, end in itertools.pairwise(bounds)]


def test_every_document_is_there_once_and_whole(corpus):
    stages = []
    prepared = prepare(str(corpus), 400, lambda stage, *_: stages.append(stage))
    train, val, test, audit_slice = (documents(prepared, name) for name in ("train", "val", "test", "slice"))
    assert sorted(train + val + test + audit_slice) == sorted(text(seed).encode() for seed in range(400))
    assert train != sorted(train)
    sizes = np.load(prepared.val_folder / "bytes.npy")
    assert sizes.dtype == np.int64 and sizes.tolist() == [len(document) for document in val]
    assert 0.1 * prepared.train_bytes < prepared.val_bytes < 0.15 * prepared.train_bytes
    assert (prepared.train_documents, prepared.val_documents, prepared.test_documents) == (len(train), len(val), len(test))
    assert (prepared.train_bytes, prepared.val_bytes) == (sum(map(len, train)), sum(sizes))
    assert np.load(prepared.test_folder / "bytes.npy").tolist() == [len(document) for document in test]
    assert sum(map(len, test)) == prepared.test_bytes < prepared.val_bytes
    assert np.load(prepared.slice_folder / "bytes.npy").tolist() == [len(document) for document in audit_slice]
    assert (prepared.slice_documents, prepared.slice_bytes) == (len(audit_slice), sum(map(len, audit_slice)))
    assert prepared.train_tokens == len(np.fromfile(prepared.train_folder / "tokens.bin", prepared.dtype))
    assert prepared.mean_token_bytes == prepared.train_bytes / prepared.train_tokens
    counted = np.load(prepared.folder / "token_bytes.npy")
    assert len(counted) == 400 and counted[prepared.bos_id] == 0 and prepared.bos_id == 399
    assert list(dict.fromkeys(stages)) == [
        "reading the corpus", "scanning documents", "learning the tokenizer", "encoding val", "encoding train", "encoding test",
        "encoding slice",
    ]  # fmt: skip


def test_it_is_done_once_and_the_same_every_time(corpus):
    first = prepare(str(corpus), 400)
    stages = []
    again = prepare(str(corpus), 400, lambda stage, *_: stages.append(stage))
    assert again == first and set(stages) == {"reading the corpus", "checking the prepared text"}
    shutil.rmtree(first.folder)
    assert prepare(str(corpus), 400) == first  # checksums and all


def test_validation_is_the_same_text_for_every_vocabulary(corpus):
    one, other = prepare(str(corpus), 300), prepare(str(corpus), 600)
    assert one.folder != other.folder
    assert documents(one, "val") == documents(other, "val")
    assert documents(one, "train") == documents(other, "train")


def test_copies_of_validation_text_are_not_trained_on(corpus):
    held_out = documents(prepare(str(corpus), 300), "val")
    write_rows(corpus / "copies.jsonl", [document.decode() for document in held_out])
    prepared = prepare(str(corpus), 300)
    train, val = documents(prepared, "train"), documents(prepared, "val")
    assert not set(train) & set(val) and len(set(val)) == len(val)
    assert prepared.duplicates_of_val >= len(held_out)


def test_a_changed_corpus_is_another_one(corpus):
    before = prepare(str(corpus), 300)
    (corpus / "more.txt").write_bytes(b"quite another text")
    assert prepare(str(corpus), 300).key != before.key


def test_a_folder_that_names_its_validation_text_is_obeyed(corpus):
    write_rows(corpus / "val" / "a.jsonl", map(text, [*range(40), 0]))
    write_rows(corpus / "train" / "a.jsonl", map(text, range(20, 400)))
    prepared = prepare(str(corpus), 300)
    assert documents(prepared, "val") == [text(seed).encode() for seed in range(40)]
    trained = documents(prepared, "train") + documents(prepared, "test") + documents(prepared, "slice")
    assert sorted(trained) == sorted(text(seed).encode() for seed in range(40, 400))
    assert (prepared.duplicates_of_val, prepared.duplicates_in_val) == (20, 1)


def test_bytes_that_are_not_utf8_are_counted(corpus):
    (corpus / "latin.txt").write_bytes("schön".encode("latin-1"))
    (corpus / "broken.txt").write_bytes(b"sch\x81n")
    prepared = prepare(str(corpus), 300)
    assert prepared.repaired_documents == 2
    found = itertools.chain(*(documents(prepared, part) for part in ("train", "val", "test", "slice")))
    assert {"schön".encode(), "sch\ufffdn".encode()} <= set(found)


def test_a_corpus_too_small_leaves_nothing_behind(corpus):
    with pytest.raises(UsageError, match="too small for a vocabulary of 60000"):
        prepare(str(corpus), 60_000)
    assert [path.name for path in (corpus.parent / "cache" / "data").iterdir()] == [".lock"]


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["train/tokens.bin", "val/bytes.npy", "ranks.tiktoken", "meta.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_folder_is_refused_and_prepared_again(corpus, name, damage):
    prepared = prepare(str(corpus), 300)
    path = prepared.folder / name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] if damage == "cut" else _flipped(content, middle))
    with pytest.raises(StoredStateError, match="prepare --force"):
        Prepared.load(prepared.folder).verify()
    assert prepare(str(corpus), 300) == prepared
    prepared.verify()


def test_force_prepares_again(corpus):
    prepared = prepare(str(corpus), 300)
    stages = []
    assert prepare(str(corpus), 300, lambda stage, *_: stages.append(stage), force=True) == prepared
    assert "encoding train" in stages


def test_a_folder_of_another_format_is_refused(corpus):
    prepared = prepare(str(corpus), 300)
    meta = json.loads((prepared.folder / "meta.json").read_text(encoding="utf-8"))
    meta["content"]["format"] = 0
    meta["checksum"] = checksum_of(meta["content"])
    (prepared.folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(StoredStateError, match="format 0"):
        Prepared.load(prepared.folder)


def test_a_second_prepare_waits_for_the_first(corpus):
    root = corpus.parent / "cache" / "data"
    root.mkdir(parents=True)
    waiting, done = threading.Event(), []

    def second():
        def on_progress(stage, *_):
            if "waiting" in stage:
                waiting.set()

        done.append(prepare(str(corpus), 300, on_progress))

    thread = threading.Thread(target=second)
    with locks.held(root / ".lock", on_wait=lambda: None):
        thread.start()
        assert waiting.wait(20) and not done
    thread.join(60)
    assert done[0].folder.exists()


@pytest.mark.slow
def test_a_large_vocabulary_takes_four_bytes_a_token(corpus):
    letters = random.Random(0)
    words = ("".join(letters.choices("abcdefghij", k=8)) for _ in range(90_000))
    write_rows(corpus / "odd.jsonl", [" ".join(itertools.islice(words, 60)) for _ in range(1500)])
    prepared = prepare(str(corpus), 70_000)
    assert prepared.dtype == "<u4"
    assert text(0).encode() in itertools.chain(*(documents(prepared, part) for part in ("train", "val", "test", "slice")))


def test_held_out_text_is_scored_in_pieces_of_as_many_documents_as_there_are(corpus):
    long = [text(1000 + seed, words=3000 * (1 + seed % 3)) for seed in range(60)]
    write_rows(corpus / "long.jsonl", long)
    prepared = prepare(str(corpus), 400)
    val = documents(prepared, "val")
    sizes = np.load(prepared.val_folder / "bytes.npy")
    assert sizes.tolist() == [len(piece) for piece in val] and sizes.max() <= PIECE_BYTES
    assert len(val) > prepared.val_documents and sizes.sum() == prepared.val_bytes
    for piece in val:
        piece.decode()  # cut between characters
    whole = [document.encode() for document in [*long, *map(text, range(400))]]
    home = [next(index for index, document in enumerate(whole) if piece in document) for piece in val]
    assert len(set(home[: prepared.val_documents])) == prepared.val_documents, "each document once before one comes again"
    assert sum(len(whole[index]) for index in set(home)) == prepared.val_bytes, "and all of each"
    assert any(not whole[index].startswith(piece) for index, piece in zip(home[: prepared.val_documents], val, strict=False))
    other = prepare(str(corpus), 600)
    assert documents(other, "val") == val, "whatever the vocabulary"
    assert max(map(len, documents(prepared, "train"))) > PIECE_BYTES, "training text is whole"


@pytest.mark.parametrize("length", [1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7])
@pytest.mark.parametrize("line", ["x" * 60 + "\n", "ö", "\U0001f600", "abc "])
def test_pieces_are_the_whole_document_in_a_turn(line, length):
    whole = (line * (length // len(line.encode()) + 1)).encode()
    found = pieces(whole, key=7)
    assert all(0 < len(piece) <= PIECE_BYTES and piece.decode() for piece in found)
    first = -7 % len(found)
    assert b"".join(found[first:] + found[:first]) == whole
    if line.endswith("\n"):
        assert all(piece.endswith(b"\n") for piece in found)


def test_one_file_is_cut_so_that_something_can_be_held_out(tmp_path, monkeypatch):
    """nanoGPT's usual input.txt."""
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "input.txt"
    path.write_text("\n".join(text(seed) for seed in range(3000)), encoding="utf-8")
    prepared = prepare(str(path), 300)
    assert prepared.val_documents and prepared.test_documents and prepared.slice_documents
    assert "cut into pieces of 16,384 bytes, 256 apart" in corpora.choose(str(path), "stdlib")[1]
    held = b"".join(documents(prepared, "val"))
    assert held and not any(held[:200] in document for document in documents(prepared, "train"))
