"""Several files as one text, and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch import bundle, constants
from autoresearch.agents.llm import edits
from autoresearch.agents.search import space, texts
from autoresearch.bundle import Layout
from autoresearch.propose import proposals
from autoresearch.study import commits, store, work_tree

LINES = st.sampled_from(
    ["", "x = 1", "#%% file: a.py", "##%% file: a.py", "#%% file, no newline at its end: b", "\r", "# é \u2028"]
)
CONTENT = st.one_of(st.text(), st.lists(LINES).map("\n".join))
DEVICES = {"con", "prn", "aux", "nul"}  # of Windows: no names of files
PATHS = st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3}){0,2}\.(py|c|txt)", fullmatch=True).filter(
    lambda path: not DEVICES & set(path.replace(".", "/").split("/"))
)


@given(st.dictionaries(PATHS, CONTENT, min_size=1))
def test_files_come_back_as_they_were(files):
    assert bundle.split(bundle.join(files)) == files


@given(CONTENT.filter(lambda text: not bundle.is_bundle(text)))
def test_any_other_text_is_a_train_py(text):
    assert bundle.split(text) == {"train.py": text}


@given(st.dictionaries(PATHS, st.text(), min_size=1))
def test_the_python_of_a_bundle_keeps_every_place(files):
    text = bundle.join(files)
    view = bundle.python(text)
    assert [len(line.encode("utf-8", "surrogatepass")) for line in view.split("\n")] == [
        len(line.encode("utf-8", "surrogatepass")) for line in text.split("\n")
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        ".git/config",
        "a/.GIT/hooks/x",
        "C:x",
        "a\\b",
        "nul.py",
        "x\x1b",
        "",
        "a/",
        "#x",
        " x",
        "x.",
    ],
)
def test_a_path_that_leaves_the_repository_is_none(path):
    with pytest.raises(ValueError, match="file"):
        bundle.split(f"#%% file: {path}\nx = 1\n")
    with pytest.raises(ValueError, match="can't be a file"):
        bundle.join({path: ""})


@pytest.mark.parametrize("paths", [["a.py", "A.py"], ["a", "a/b.py"]])
def test_two_files_in_one_place_are_refused(paths):
    with pytest.raises(ValueError, match="another name"):
        bundle.split("".join(f"#%% file: {path}\nx = 1\n" for path in paths))


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("src/**/*.py", ["src/a.py", "src/b/c/d.py"], ["a.py", "src/a.c", "tests/src/a.py"]),
        ("*.md", ["a.md"], ["a/b.md"]),
        ("./src/x.py", ["src/x.py"], ["src/xApy"]),
        ("src/**", ["src/a", "src/b/c"], ["lib/a"]),
    ],
)
def test_patterns_say_which_files(pattern, taken, left):
    layout = Layout((pattern,))
    assert [path for path in taken + left if layout.takes(path)] == taken


def test_without_patterns_it_is_train_py_itself():
    assert Layout().text({"train.py": b"x", "y.py": b"y"}) == b"x"
    assert Layout().files(b"\xff") == {"train.py": b"\xff"}


TEXT = bundle.join({
    "a.c": "#define SIZE 4  // [1..9]\nint SIZE_OF(", "b.py": "def f(): ...\n\nSIZE = 64  # [16..256]\nPLAIN = 2  # see [1]\n",
    "c.py": '"""É"""\nDEPTH = 3  # [1..9]\nTWICE = 1\n', "d.py": "TWICE = 2\n",
})  # fmt: skip


def test_constants_of_the_python_files_are_read_and_written_in_place():
    read = constants.read(TEXT)
    assert {name: one.annotation for name, one in read.items()} == {
        "SIZE": constants.Range(16, 256), "PLAIN": constants.Fixed(), "DEPTH": constants.Range(1, 9)
    }  # fmt: skip
    written = constants.write(TEXT, {"SIZE": 32, "DEPTH": 4})
    changed = {path: text for path, text in bundle.split(written).items() if text != bundle.split(TEXT)[path]}
    assert changed == {
        "b.py": "def f(): ...\n\nSIZE = 32  # [16..256]\nPLAIN = 2  # see [1]\n",
        "c.py": '"""É"""\nDEPTH = 4  # [1..9]\nTWICE = 1\n',
    }


def test_the_search_turns_what_has_a_range_alone():
    parsed = texts.parsed(TEXT)
    assert set(space.axes(constants.read(TEXT), parsed.values)) == {"SIZE", "DEPTH"}


def test_a_key_is_that_of_the_programs_and_of_other_files_texts():
    key = proposals.program_key(TEXT)
    assert key == proposals.program_key(TEXT.replace("DEPTH = 3  #", "DEPTH = 1 + 2  #").replace("1 + 2", "3"))
    assert key == proposals.program_key(TEXT.replace("PLAIN = 2  # see [1]", "PLAIN =  2"))
    assert key != proposals.program_key(TEXT.replace("// [1..9]", "// [1..8]"))
    assert key != proposals.program_key(TEXT.replace("file: d.py", "file: e.py"))


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"a.py": "def"}, "a.py does not parse: .* \\(line 1\\)"),
        ({"a.md": "x\u202e"}, "a.md line 1 holds the character U\\+202E"),
        ({"a.md": "x" * 200_001}, "what may be edited has 200,040 bytes"),
        ({"a.py": "x = '" + "y" * 3000 + "'"}, "a.py has a line of"),
    ],
)
def test_what_can_not_be_edited_files_is_said_by_its_path(files, why):
    with pytest.raises(ValueError, match=why):
        proposals.program_key(bundle.join(files))


def test_an_llm_edits_one_file_of_several():
    call = edits.Call(
        "1", edits.EDITOR, {"command": "str_replace", "path": "/repo/c.py", "old_str": "DEPTH = 3", "new_str": "DEPTH = 5"}
    )
    new = edits.Call("2", edits.EDITOR, {"command": "create", "path": "e.py", "file_text": "x = 1\n"})
    done = edits.apply(TEXT, TEXT, [call, new])
    assert not done.failed and done.results[0].text == "replaced at line 2"
    assert bundle.split(done.text) == bundle.split(TEXT.replace("DEPTH = 3", "DEPTH = 5")) | {"e.py": "x = 1\n"}
    other = edits.apply(TEXT, TEXT, [edits.Call("1", edits.EDITOR, {"command": "view", "path": "train.py"})])
    assert "there are a.c, b.py, c.py, d.py" in other.results[0].text


def test_in_git_and_in_the_work_tree_they_lie_at_their_own_paths(tmp_path):
    terms = b'files = ["*.py", "src/**/*.c"]\n'
    first = {"a.py": b"x = 1\n", "src/b/c.c": b"int x;"}
    made = store.Store.create(tmp_path, "t", first | {"study.toml": terms, "program.md": b""})
    for name, content in (first | {"study.toml": terms}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    start = made.tip
    assert bundle.split(made.text(start)) == {"a.py": "x = 1\n", "src/b/c.c": "int x;"}
    text = bundle.join({"a.py": "x = 2\n", "d.py": "y = 1\n"})
    commit, blob = made.propose(start, text, "edit")
    assert made.text(commit) == text and made.blob(commit) == blob
    assert made.update(commit, {blob}) == []
    assert work_tree.work_tree_text(tmp_path) == text and not (tmp_path / "src" / "b" / "c.c").exists()
    (tmp_path / "a.py").write_text("x = 3\n")
    assert made.is_users_edit({blob})
    made.update(start, {blob})
    assert (tmp_path / "a.py").read_text() == "x = 3\n"  # the user's own edit stays
    assert "-x = 1\n+x = 2\n" in commits.diff(tmp_path, start, commit)
