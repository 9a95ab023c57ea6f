"""The number that a command prints or writes: one finite number, or a reason in one line."""

from contextlib import closing

import pytest

from autoresearch.border import numbers
from autoresearch.border.files import Held
from autoresearch.errors import RunFailed


@pytest.mark.parametrize(
    ("output", "number"),
    [
        ("seconds: 1.25", 1.25),
        ("warm-up seconds: 9\nall done, seconds=1.5e-3 (3 runs)\nbye", 1.5e-3),
        ("SECONDS 2", 2.0),
        ("1\n2\n  3.5  \nthe end", 3.5),
        ("seconds: 4\n5", 4.0),  # the name goes before what stands alone
        ("milliseconds: 7\nseconds per run: 8\n6", 6.0),
        ("\x1b[32mseconds: -3\x1b[0m", -3.0),
        ("10%\rseconds: 1\r\n", 1.0),
        ("seconds: .5", 0.5),
    ],
)
def test_the_last_line_that_names_it_counts_else_the_last_number_alone(output, number):
    assert numbers.printed(output, "seconds") == number


@pytest.mark.parametrize(
    "output", ["", "no number", "seconds:", "seconds: nan", "seconds: 1e400", "inf", "seconds: 1.2.3", "v1.2", "seconds: 12abc"]
)
def test_what_is_no_number_is_refused_in_one_line(output):
    with pytest.raises(RunFailed, match=r"prints no number|none can be compared with") as refused:
        numbers.printed(output, "seconds")
    assert refused.value.kind == "invalid" and "\n" not in refused.value.reason


@pytest.mark.parametrize(("text", "result"), [("2.5", "r.json"), ('{"a": {"b": 2.5}}', "r.json:a.b")])
def test_a_file_has_it_at_a_key(tmp_path, text, result):
    (tmp_path / "r.json").write_text(text)
    with closing(Held(tmp_path)) as held:
        assert numbers.written(held, result) == 2.5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"a": true}',
        '{"a": "1"}',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": [1]}',
        "[" * 100_000,
        '{"a": ' + "9" * 400 + "}",
        "\ud800",
    ],
)
def test_a_file_without_a_number_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text, errors="surrogatepass")
    with closing(Held(tmp_path)) as held, pytest.raises(RunFailed, match=r"r.json|none can be compared with"):
        numbers.written(held, "r.json:a")


def test_a_link_is_no_result(tmp_path):
    (tmp_path / "secret.json").write_text("1")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "r.json").symlink_to(tmp_path / "secret.json")
    with closing(Held(tmp_path / "work")) as held, pytest.raises(RunFailed, match="no regular file"):
        numbers.written(held, "r.json")
