"""The tutorial is typed as it stands in an empty folder: each command, and each line of output it shows."""

import pytest
from tests.docs.pages import blocks, first_missing, says_some


@pytest.mark.slow
def test_first_part_does_what_it_says(first_part):
    assert (first_part.folder / "project.py").exists()
    assert first_part.last_id.startswith("p-")


@pytest.mark.slow
def test_second_part_does_what_it_says(after_first_part):
    after_first_part.run_page("tutorial/live-service.md")

    assert after_first_part.running == []


def test_every_block_of_the_tutorial_is_typed():
    pages = blocks("tutorial/first-system.md") + blocks("tutorial/live-service.md")

    assert {block.language for block in pages if block.language} == {"console"}
    assert not [block for block in pages if block.mark == "untested"]


def test_shown_lines_must_stand_in_the_output_in_order():
    output = "a  1\nfraud@1: 7 rows\nb"

    assert first_missing(["a 1", "...", "fraud@...: ... rows", "b"], output) is None
    assert first_missing(["b", "a 1"], output) == "a 1"
    assert first_missing(["fraud@1: 8 rows"], output) == "fraud@1: 8 rows"


def test_a_number_that_must_be_above_0_is_looked_at():
    assert says_some("with mature labels", "250 predictions, 1,249 with mature labels")
    assert not says_some("with mature labels", "250 predictions, 0 with mature labels")
    assert not says_some("with mature labels", "250 predictions")
    assert says_some("", "")
