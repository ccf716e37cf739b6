"""The command that makes an entry: what the table says of it is what it says itself."""

import shlex

import support.repository  # noqa: F401
from results.final import command, parser
from results.table import load_table


def test_every_entry_is_made_by_the_command_that_it_names():
    for entry in load_table():
        program, arguments = entry.command.split("results.final ")
        options = parser().parse_args(shlex.split(arguments))
        assert program == "python -m " and command(options) == entry.command
        assert options.dataset == entry.title and tuple(options.seeds) == entry.seeds
        assert f"results/{entry.candidate}" == str(options.candidate)
        # Only digits come without files.
        assert ("--data-dir DATA" in entry.command) == (entry.dataset != "digits")
