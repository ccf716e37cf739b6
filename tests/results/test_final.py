"""The command that makes an entry: what the table says of it is what it says itself."""

import shlex
from pathlib import Path

import pytest

import support.repository  # noqa: F401
from results.final import command, main, parser
from results.table import load_table
from tfsparse.errors import UserError


def test_every_entry_is_made_by_the_command_that_it_names():
    for entry in load_table():
        program, arguments = entry.command.split("results.final ")
        options = parser().parse_args(shlex.split(arguments))
        assert program == "python -m " and command(options) == entry.command
        assert options.dataset == entry.title and tuple(options.seeds) == entry.seeds
        assert f"results/{entry.candidate}" == str(options.candidate)
        # Only digits come without files.
        assert ("--data-dir DATA" in entry.command) == (entry.dataset != "digits")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["../out", "--dataset", "digits"], "no name for an entry"),
        (["one", "--dataset", "digits", "--images", "-5"], "give at least"),
        (["one", "--dataset", "digits", "--seeds", "1", "1"], "give different numbers"),
    ],
)
def test_bad_input_is_said_before_anything_is_trained(arguments, sentence):
    name, *more = arguments
    candidate = Path(__file__).resolve().parents[2] / "results" / "models" / "digits-small.json"
    with pytest.raises(UserError, match=sentence):
        main([name, str(candidate), *more])
