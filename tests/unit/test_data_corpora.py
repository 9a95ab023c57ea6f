"""What counts as a corpus, what is refused and how, and what its identity depends on."""

import json
import shutil
import sysconfig
from pathlib import Path

import pytest

from autoresearch.data import corpora, sight
from autoresearch.data.progress import silent
from autoresearch.data.split import BY_HASH, TRAIN, VAL
from autoresearch.errors import UsageError


def marked(corpus):
    return [(document.text, document.mark) for document in corpus.documents()]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder


def test_a_folder_gives_the_files_that_are_read_in_the_order_of_their_names(tmp_path):
    files = {"b.txt": "B", "a/z.md": "Z", "a/y.jsonl": '{"text": "Y1"}\n{"text": "Y2"}\n', "empty.txt": ""}
    ignored = {".git/x.txt": "no", "image.png": "no", ".hidden.txt": "no", "__pycache__/c.py": "no"}
    corpus = corpora.find(str(write(tmp_path, files | ignored)))
    assert marked(corpus) == [(text, BY_HASH) for text in (b"Y1", b"Y2", b"Z", b"B")]
    assert corpus.name == str(tmp_path.resolve())


def test_a_folder_with_train_and_val_says_itself_what_is_held_out(tmp_path):
    corpus = corpora.find(str(write(tmp_path, {"train/a.txt": "A", "val/b.txt": "B", "notes.md": "left out"})))
    assert marked(corpus) == [(b"B", VAL), (b"A", TRAIN)]


@pytest.mark.parametrize("requested", ["", "no-such-corpus", 300 * "a"])
def test_a_corpus_that_is_not_there_is_not_chosen(requested):
    with pytest.raises(UsageError, match="no corpus"):
        corpora.choose(requested, "stdlib")


def test_a_single_file_is_a_corpus(tmp_path):
    write(tmp_path, {"a.jsonl": '{"text": "A"}\n', "b.txt": "left out"})
    assert marked(corpora.find(str(tmp_path / "a.jsonl"))) == [(b"A", BY_HASH)]


@pytest.mark.parametrize(
    ("files", "at", "message"),
    [
        ({}, "missing", "no corpus .*; or a file or folder that exists"),
        ({"a.png": ""}, "", r"holds no file that is read \(\.txt \.md \.py \.jsonl \.csv \.tsv \.parquet\); put some text there"),
        ({"a.docx": ""}, "a.docx", "not of a kind that is read"),
        ({"train/a.txt": "A", "val/b.png": ""}, "", "val holds no file that is read"),
    ],
)
def test_what_is_no_corpus_is_refused_with_what_to_do(tmp_path, files, at, message):
    write(tmp_path, files)
    with pytest.raises(UsageError, match=message):
        corpora.find(str(tmp_path / at))


def test_a_misspelled_name_gets_the_nearest():
    with pytest.raises(UsageError, match="did you mean tinystories"):
        corpora.find("tinystorys")


def test_the_identity_follows_content_and_names_but_not_the_place(tmp_path):
    one = write(tmp_path / "one", {"a.txt": "A", "b.txt": "B"})
    other = tmp_path / "other"
    shutil.copytree(one, other)

    def identity(folder):
        return corpora.find(str(folder)).identity(silent)

    before = identity(one)
    assert identity(other) == before
    write(other, {"b.txt": "C"})
    assert identity(other) != before
    (one / "b.txt").rename(one / "c.txt")
    assert identity(one) != before


def test_prepared_folders_have_names_that_any_system_takes():
    assert corpora.key_prefix("/home/x/My texts: é*", "0123456789abcdef0123") == "My-texts-----0123456789abcdef-"


def test_stdlib_is_this_pythons_own_source():
    corpus = corpora.find("stdlib")
    files = [part.file for part in corpus.parts]
    assert "json/decoder.py" in files and files == sorted(files)
    assert not [file for file in files if "site-packages" in file or "__pycache__" in file]
    assert all(part.mark == BY_HASH for part in corpus.parts)


def test_a_python_without_its_source_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "python311.zip"))
    with pytest.raises(UsageError, match="--corpus PATH"):
        corpora.find("stdlib")


def test_what_is_read_and_what_is_left_out_is_told(tmp_path):
    for name in ("a.txt", "b.md", "c.html", "d.bin.gz", "e", ".hidden.txt", "sub/f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    name, why = corpora.choose(str(tmp_path), "stdlib")
    assert (name, why) == (
        str(tmp_path),
        "asked for; read: 2 .txt, 1 .md; left out: 1 .gz, 1 .html, 1 links to nothing, 1 without a suffix",
    )


def test_a_folder_that_is_a_link_is_read_once_and_a_loop_ends(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    (tmp_path / "elsewhere" / "b.txt").write_text("x")
    (tmp_path / "text" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "text")
    assert [part.file for part in corpora.find(str(tmp_path / "text")).parts] == ["a.txt", "linked/b.txt"]


def test_tables_of_something_else_beside_a_text_are_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.txt.gz").write_bytes(b"")
    (tmp_path / "meta.csv").write_text("id,author\n1,me\n")
    (tmp_path / "text.csv").write_text("id,text\n1,one\n")
    (tmp_path / "none.tsv").write_text("")
    found = corpora.find(str(tmp_path))
    assert [part.file for part in found.parts] == ["a.txt", "text.csv"]
    assert found.left_out == {".csv without a column text": 1, ".tsv without a column text": 1, "beside what they hold": 1}


def test_two_links_to_a_folder_beside_it_are_no_more_text(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "t.txt").write_text("x")
    for name in ("link", "zlink"):
        (tmp_path / name).symlink_to(tmp_path / "x")
    assert [part.file for part in corpora.find(str(tmp_path)).parts] == ["x/t.txt"]


def test_a_field_of_a_path_is_a_corpus_of_its_own_and_is_hidden_as_the_path_is(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"one": f"x{n}", "other": f"y{n}"}) + "\n" for n in range(3)))
    monkeypatch.chdir(tmp_path)
    one, other = corpora.find("a.jsonl#one"), corpora.find(f"{path}#other")
    assert one.name == f"{path}#one" == corpora.resolved("a.jsonl#one") and sight.place(one.name) == path
    assert [document.text for document in one.documents()] == [b"x0", b"x1", b"x2"]
    assert [document.text for document in other.documents()] == [b"y0", b"y1", b"y2"]
    assert one.identity(silent) != other.identity(silent)
    odd = tmp_path / "c#.txt"
    odd.write_text("a text")
    assert corpora.find(str(odd)).name == str(odd) and sight.place(str(odd)) == odd, "a path that is there is a path"
    assert sight.place("stdlib") is None and corpora.resolved("stdlib") == "stdlib"
    with pytest.raises(UsageError, match=r"no corpus 'b\.jsonl#one'"):
        corpora.find("b.jsonl#one")
