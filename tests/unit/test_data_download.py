"""Downloads through the hub's real client, against a server on this machine that speaks the hub's protocol."""

import hashlib
import io
import json

import pyarrow
import pyarrow.parquet
import pytest
from local_hub import Hub, served

from autoresearch.data import corpora, download
from autoresearch.data.corpora import HubCorpus, Part
from autoresearch.data.download import HubFile
from autoresearch.data.prepare import prepare
from autoresearch.data.split import TRAIN, VAL
from autoresearch.errors import EnvironmentFailure, UsageError


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    with served(Hub("")) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


FILE = HubFile("someone/texts", "part/a.bin")


def fetch(folder, on_progress=lambda *_: None):
    return download.fetch(FILE, folder, on_progress)


def gets(hub):
    return [(name, asked) for method, name, asked in hub.requests if method == "GET"]


def test_a_file_arrives_checked_and_is_not_fetched_twice(hub, tmp_path):
    hub.files[FILE.name] = bytes(range(256)) * 1000
    reports = []
    path = fetch(tmp_path, lambda *report: reports.append(report))
    assert path == tmp_path / "part" / "a.bin" and path.read_bytes() == hub.files[FILE.name]
    assert reports[0] == ("downloading a.bin", 0, 256_000) and reports[-1][1] == 256_000
    asked = len(hub.requests)
    assert fetch(tmp_path) == path
    assert len(hub.requests) == asked
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.bin", "a.bin.json"]
    assert download.known_hash(FILE, tmp_path) == hashlib.sha256(hub.files[FILE.name]).hexdigest()


@pytest.mark.slow
def test_a_download_that_broke_off_goes_on_where_it_was(hub, tmp_path):
    hub.files[FILE.name] = bytes(range(256)) * 100_000
    hub.stop_after = 24_000_000
    with pytest.raises(EnvironmentFailure, match=r"broke off .* 21\.0 of 25\.6 MB are kept; run again"):
        fetch(tmp_path)
    assert not download.is_here(FILE, tmp_path) and not (tmp_path / FILE.name).exists()
    hub.stop_after, hub.is_cut = None, False
    hub.requests.clear()
    assert fetch(tmp_path).read_bytes() == hub.files[FILE.name]
    assert gets(hub) == [(FILE.name, f"bytes={20 << 20}-")]  # the hub's client writes 10 MiB at a time


@pytest.mark.slow
def test_what_is_left_of_an_older_version_is_not_continued(hub, tmp_path):
    hub.files[FILE.name] = b"old" * 5_000_000
    hub.stop_after = 12_000_000
    with pytest.raises(EnvironmentFailure):
        fetch(tmp_path)
    hub.files[FILE.name] = b"new" * 5_000_000
    hub.stop_after, hub.is_cut = None, False
    assert fetch(tmp_path).read_bytes() == hub.files[FILE.name]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_damaged_body_is_refused_and_forgotten(hub, tmp_path):
    hub.files[FILE.name] = b"x" * 10_000
    hub.corrupt = True
    with pytest.raises(EnvironmentFailure, match=r"arrived damaged.*run again"):
        fetch(tmp_path)
    assert [p.name for p in (tmp_path / "part").iterdir()] == []
    hub.corrupt = False
    assert fetch(tmp_path).read_bytes() == hub.files[FILE.name]


def test_a_server_that_is_down_or_lacks_the_file_is_one_clear_line(hub, tmp_path, monkeypatch):
    with pytest.raises(EnvironmentFailure, match=r"can't reach http://127.*a\.bin .*404.*--corpus stdlib"):
        fetch(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(EnvironmentFailure, match=r"can't reach http://127\.0\.0\.1:9/.*HF_ENDPOINT") as error:
        fetch(tmp_path)
    assert "\n" not in str(error.value)


def test_auto_takes_the_profiles_corpus_when_its_server_answers(hub):
    assert corpora.choose("stdlib", "climbmix") == ("stdlib", "asked for")
    assert corpora.choose("auto", "stdlib") == ("stdlib", "the profile's corpus")
    name, reason = corpora.choose("auto", "climbmix")
    assert name == "stdlib" and "climbmix is not on this machine" in reason and "404" in reason
    hub.files["shard_06542.parquet"] = b"anything"
    assert corpora.choose("auto", "climbmix") == ("climbmix", "the profile's corpus, and its server answers")
    assert not gets(hub)


def test_auto_takes_stdlib_when_nobody_answers(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    name, reason = corpora.choose("auto", "tinystories")
    assert name == "stdlib" and reason.startswith("the profile's corpus tinystories is not on this machine, and can't reach")


def shard(first: int, rows: int) -> bytes:
    out = io.BytesIO()
    texts = [f"row {row}: " + " ".join(f"word{(row * k) % 97}" for k in range(1, 80)) for row in range(first, first + rows)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), out, row_group_size=50)
    return out.getvalue()


def test_a_hub_corpus_is_prepared_then_needs_no_network_and_no_shards(hub, tmp_path, monkeypatch):
    hub.files |= {"train.parquet": shard(0, 400), "val.parquet": shard(300, 200)}
    parts = (Part("val.parquet", VAL, (10, 150)), Part("train.parquet", TRAIN))
    corpus = HubCorpus("small", "someone/small", parts)
    monkeypatch.setitem(corpora.NAMED, "small", lambda: corpus)
    prepared = prepare("small", 300)
    assert prepared.corpus == "small" and prepared.val_documents == 140
    assert prepared.train_documents + prepared.test_documents + prepared.slice_documents == 310
    assert prepared.duplicates_of_val == 90  # rows 310 to 399 are in both
    assert corpora.choose("auto", "small") == ("small", "the profile's corpus, already downloaded")

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for path in corpus.folder.glob("*.parquet"):
        path.unlink()
    assert prepare("small", 300) == prepared
    assert corpora.choose("auto", "small") == ("small", "the profile's corpus, already prepared")
    with pytest.raises(EnvironmentFailure, match="can't reach"):
        prepare("small", 301)  # another vocabulary needs the text again


def test_the_public_corpora_are_what_their_servers_hold():
    climbmix, tinystories = corpora.NAMED["climbmix"](), corpora.NAMED["tinystories"]()
    assert [part for part in climbmix.parts if part.mark == VAL] == [Part("shard_06542.parquet", VAL)]
    assert climbmix.parts[1] == Part("shard_00000.parquet", TRAIN) and len(climbmix.parts) == 9
    assert climbmix.files[0].url.endswith("/datasets/karpathy/climbmix-400b-shuffle/resolve/main/shard_06542.parquet")
    assert [file.name for file in tinystories.files] == ["tinystories_gpt4_clean.parquet"]


def rows(field: str, words: str, count: int = 3) -> bytes:
    return b"".join(json.dumps({field: f"{words} {n}", "id": str(n)}).encode() + b"\n" for n in range(count))


def test_a_dataset_of_the_hub_is_a_corpus_by_its_name(hub):
    hub.files = {
        "README.md": b"about", "data/train-0.jsonl": rows("story", "a"), "data/train-1.jsonl": rows("story", "b"),
        "data/test-0.jsonl": rows("story", "held out"), "logo.png": b"x", "../../evil.jsonl": rows("story", "evil"),
    }  # fmt: skip
    found = corpora.find("hf://someone/texts#story")
    assert [part.file for part in found.parts] == ["data/train-0.jsonl", "data/train-1.jsonl"]
    found.fetch(lambda *_: None)
    assert [document.text for document in found.documents()] == [b"a 0", b"a 1", b"a 2", b"b 0", b"b 1", b"b 2"]
    asked = len(hub.requests)
    again = corpora.find("hf://someone/texts#story")
    assert again.known_identity() == found.identity(lambda *_: None) and len(hub.requests) == asked, (
        "without a network from then on"
    )
    assert again.known_identity() != corpora.find("hf://someone/texts#id").known_identity()
    one = corpora.find("hf://someone/texts/data/test-0.jsonl#story")
    assert [part.file for part in one.parts] == ["data/test-0.jsonl"]
    assert corpora.resolved("hf://someone/texts#story") == "hf://someone/texts#story"


def test_parquet_goes_before_the_rest_and_a_large_dataset_is_taken_in_part(hub, monkeypatch):
    hub.files = {"a.csv": b"text\nx\n", "1.parquet": b"x" * 40, "2.parquet": b"x" * 40, "3.parquet": b"x" * 40}
    monkeypatch.setattr(corpora, "HUB_BYTES", 90)
    assert [part.file for part in corpora.find("hf://someone/texts").parts] == ["1.parquet", "2.parquet"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf://", "names no dataset"), ("hf://someone", "names no dataset"), ("hf://so me/texts", "names no dataset"),
        ("hf://someone/texts/none", "none of its 0 files"), ("hf://someone/texts/pictures", "none of its 1 files"),
    ],
)  # fmt: skip
def test_a_dataset_that_can_not_be_is_told_in_a_line(hub, name, words):
    hub.files = {"pictures/a.png": b"x", "a.txt": b"x"}
    with pytest.raises(UsageError, match=words):
        corpora.find(name)


def test_a_dataset_that_is_not_there_is_told_in_a_line(hub):
    with pytest.raises(EnvironmentFailure, match="can't list the dataset someone/else of the hub"):
        corpora.find("hf://someone/else")
