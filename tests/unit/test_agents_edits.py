"""What an LLM's calls do to a train.py, and the errors that it gets back."""

import pytest

from autoresearch import constants, paths
from autoresearch.agents.llm import edits
from autoresearch.agents.llm.edits import Call, apply
from autoresearch.text import DESCRIPTION_CHARACTERS

TORCH = (paths.shipped("backends") / "torch" / "train.py").read_text(encoding="utf-8")
SHORT = "A = 1\nB = 2\n\n\ndef f(x):\n    return x + A\n"


def editor(**arguments) -> Call:
    return Call("1", edits.EDITOR, {"path": "train.py", **arguments})


def replaced(old, new) -> Call:
    return editor(command="str_replace", old_str=old, new_str=new)


def submit(description="a change", reasoning="because") -> Call:
    return Call("9", "submit", {"description": description, "reasoning": reasoning})


def error(text, *calls) -> str:
    """The error of the one call that fails; the text stays as it was."""
    done = apply(text, text, calls)
    assert done.failed and done.text == text and not done.ideas and done.notes is None
    assert len(done.results) == len(calls) and all(result.is_error for result in done.results)
    return done.results[-1].text


def test_a_unique_text_is_replaced_and_the_rest_stays():
    done = apply(TORCH, TORCH, [replaced("F.relu(linear(x, self.up)).square()", "F.silu(linear(x, self.up))"), submit()])
    (idea,) = done.ideas
    assert idea.text == TORCH.replace("F.relu(linear(x, self.up)).square()", "F.silu(linear(x, self.up))") and done.text == TORCH
    line = TORCH[: TORCH.index("F.relu(linear")].count("\n") + 1
    assert [result.text for result in done.results] == [f"replaced at line {line}", "submitted"]
    assert (idea.description, idea.reasoning) == ("a change", "because")


def test_each_edit_sees_the_one_before_it():
    done = apply(SHORT, SHORT, [replaced("A = 1", "A = 5"), replaced("A = 5", "A = 7")])
    assert done.text.startswith("A = 7\n") and not done.failed


def test_a_replacement_is_text_and_no_pattern():
    assert apply(SHORT, SHORT, [replaced("x + A", r"x \1 \g<0> $&")]).text == SHORT.replace("x + A", r"x \1 \g<0> $&")


def test_one_wrong_edit_undoes_all_and_says_which():
    done = apply(SHORT, SHORT, [replaced("A = 1", "A = 5"), replaced("nowhere", "x"), submit()])
    assert done.text == SHORT and not done.ideas
    assert "call 2 of this answer failed" in done.results[0].text and "call 2" in done.results[2].text
    assert "old_str is not in train.py" in done.results[1].text


def test_the_nearest_lines_are_shown_with_their_numbers():
    said = error(TORCH, replaced("        self.up = matrix(int(MLP_RATIO * width), width)\n        self.down = zeros", "x"))
    number = TORCH[: TORCH.index("        self.up = matrix")].count("\n") + 1
    assert f"\n{number}:         self.up = matrix(int(MLP_RATIO * width), width)\n{number + 1}:         self.down" in said
    assert len(said.splitlines()) == 3


def test_a_text_that_is_there_twice_is_refused_with_the_lines():
    assert "2 times, at lines 1, 6; add lines around it" in error(SHORT, replaced("A", "C"))
    assert "in train.py 2 times" in error("aXa\nXa", replaced("Xa", ""))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"command": "str_replace", "old_str": "", "new_str": "x"}, "old_str is empty"),
        ({"command": "str_replace", "new_str": "x"}, "old_str is missing; it has to be a string"),
        ({"command": "str_replace", "old_str": 3, "new_str": "x"}, "old_str is 3; it has to be a string"),
        ({"command": "insert", "insert_line": 7, "insert_text": "x"}, "insert_line is 7, and train.py has 6 lines"),
        ({"command": "insert", "insert_line": True, "insert_text": "x"}, "insert_line is True; it has to be an integer"),
        ({"command": "insert", "insert_line": 1, "insert_text": "\ud800"}, "surrogates not allowed"),
        ({"command": "view", "view_range": [0, 3]}, "lines count from 1"),
        ({"command": "view", "view_range": [5, 2]}, "no range of the 6 lines"),
        ({"command": "view", "view_range": "1-3"}, "two whole numbers"),
        ({"command": "undo_edit"}, "no command 'undo_edit'; it has view, str_replace, insert and create"),
        ({"command": "view", "path": "../program.md"}, "no file '../program.md' here; the only one is train.py"),
        ({"command": "view", "path": "/workspace/other/train.py"}, "the only one is train.py"),
        ({}, "command is missing"),
    ],
)
def test_what_is_wrong_with_a_call_is_said_exactly(arguments, said):
    assert said in error(SHORT, editor(**arguments))


@pytest.mark.parametrize("path", ["train.py", "./train.py", "/train.py", "/repo/train.py"])
def test_train_py_as_models_name_it(path):
    assert not apply(SHORT, SHORT, [editor(command="view", path=path)]).failed


def test_insert_create_and_view():
    done = apply(SHORT, SHORT, [editor(command="insert", insert_line=0, insert_text="# first")])
    assert done.text == "# first\n" + SHORT
    assert apply(SHORT, SHORT, [editor(command="insert", insert_line=6, insert_text="C = 3\n")]).text == SHORT + "C = 3\n"
    assert apply(SHORT, SHORT, [editor(command="create", file_text="new")]).text == "new"
    assert apply(SHORT, SHORT, [editor(command="view", view_range=[5, -1])]).results[0].text == "5: def f(x):\n6:     return x + A"
    assert apply(SHORT, SHORT, [editor(command="view")]).results[0].text.splitlines()[0] == "1: A = 1"


def test_constants_by_name():
    values = {"MATRIX_LR": 0.02, "TOTAL_BATCH_SIZE": "2**16", "WINDOW_PATTERN": "SL", "DEPTH": 6}
    done = apply(TORCH, TORCH, [Call("1", "set_constants", {"values": values})])
    assert done.text == constants.write(TORCH, values | {"TOTAL_BATCH_SIZE": 2**16})
    assert "TOTAL_BATCH_SIZE = 2**16 " in done.text
    misspelt = Call("1", "set_constants", {"values": {"MATRIX_RATE": 1}})
    assert "no constant MATRIX_RATE; did you mean MATRIX_LR?" in error(TORCH, misspelt)
    assert "DEPTH is a int" in error(TORCH, Call("1", "set_constants", {"values": {"DEPTH": 2.5}}))
    assert "does not parse" in error("DEPTH = (", Call("1", "set_constants", {"values": {"DEPTH": 2}}))


def test_unknown_tools_and_arguments_that_are_no_object():
    assert "there is no tool 'bash'" in error(SHORT, Call("1", "bash", {"command": "ls"}))
    assert "submit takes a JSON object, not list" in error(SHORT, Call("1", "submit", []))


def test_notes_are_capped_and_are_kept_only_with_the_rest():
    long = "n" * (edits.NOTES_CHARACTERS + 1)
    assert f"have {len(long)} characters" in error(SHORT, Call("1", "write_notes", {"text": long}))
    assert apply(SHORT, SHORT, [Call("1", "write_notes", {"text": long[1:]})]).notes == long[1:]
    assert apply(SHORT, SHORT, [Call("1", "write_notes", {"text": "n"}), replaced("nowhere", "")]).notes is None


def test_submit_needs_an_edit_and_a_description_of_one_line():
    assert "does not differ from the best" in error(SHORT, submit())
    assert "submit needs a description" in error(SHORT, submit("\x1b \n"))
    done = apply(SHORT, SHORT, [replaced("A = 1", "A = 2"), submit("a\tb\n\x1b[31mc\u202e" + 200 * "d")])
    description = done.ideas[0].description
    assert description.startswith("a b [31mc d") and len(description) == DESCRIPTION_CHARACTERS and description.isprintable()


def test_the_reasoning_is_for_a_terminal_too():
    done = apply(SHORT, SHORT, [replaced("A = 1", "A = 2"), submit(reasoning="one\n\x1b[2Jtwo\u202e" + 9999 * "x")])
    reasoning = done.ideas[0].reasoning
    assert reasoning.startswith("one\n[2Jtwox") and len(reasoning) == edits.REASONING_CHARACTERS


def test_an_earlier_edit_counts_for_submit():
    assert apply(SHORT.replace("A = 1", "A = 2"), SHORT, [submit()]).ideas


def test_several_ideas_of_one_answer_are_edits_of_the_best_each_and_ranked_by_what_they_promise():
    calls = []
    for value, gain in (("2", 0.001), ("3", 0.004), ("4", "much")):
        calls += [replaced("A = 1", f"A = {value}"), Call("9", "submit", dict(description=value, reasoning="", expected_gain=gain))]
    done = apply(SHORT, SHORT, calls)
    assert [idea.text for idea in done.ranked] == [SHORT.replace("A = 1", f"A = {value}") for value in "324"]
    assert done.text == SHORT
    assert f"at most {edits.IDEAS} ideas in one answer" in error(SHORT, *calls, replaced("A = 1", "A = 5"), submit())
    assert "each another edit" in error(SHORT, *calls[:2], *calls[:2])


def test_a_whole_file_in_a_fenced_block():
    answer = f"Here it is:\n```python\n{TORCH}```\nand how to run it:\n```sh\nautoresearch run\n```\n"
    assert edits.whole_file(answer) == TORCH
    assert edits.whole_file("```python\nMATRIX_LR = 0.06\n```\n") is None
    assert edits.whole_file(TORCH) is None
    assert edits.whole_file(f"```python\n{TORCH}") is None  # cut off
    earlier = "def build_model(spec):\n    return 'an earlier one'\n"
    assert edits.whole_file(f"```\n{earlier}```\n{answer}") == TORCH, "the last one counts"
    assert edits.whole_file("```x\n" * 400_000) is None, "in a second, however many fences it opens"


def test_with_a_schema_or_by_its_type_it_is_the_same_editor():
    plain, own = edits.tools(with_schema=True), edits.tools(with_schema=False)
    assert [tool["name"] for tool in plain] == [tool["name"] for tool in own] == list(edits.NAMES)
    assert plain[1:] == own[1:] and "input_schema" not in own[0]
    assert plain[0]["input_schema"]["required"] == ["command", "path"]
