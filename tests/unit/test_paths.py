"""Commands that are printed can be copied: a folder with spaces is one word of them."""

import shlex
from pathlib import Path

import pytest

from autoresearch.errors import UsageError
from autoresearch.paths import typed
from autoresearch.study.workspace import check_free


@pytest.mark.parametrize("name", ["plain", "My Projects/Ünï's lab", "a;b", "$HOME"])
def test_a_path_is_one_word_of_a_command(name: str) -> None:
    assert shlex.split(f"autoresearch run --workspace {typed(Path(name))}")[3:] == [name]


def test_the_way_on_with_a_study_is_quoted(tmp_path: Path) -> None:
    (folder := tmp_path / "My Projects").mkdir()
    (folder / "study.toml").touch()
    with pytest.raises(UsageError) as caught:
        check_free(folder)
    command = str(caught.value).split("`")[1]
    assert shlex.split(command)[3] == str(folder)
