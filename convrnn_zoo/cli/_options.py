"""Types and options that several commands share."""

from typing import Any

import click

from .._hints import suggest


class Choice(click.Choice[str]):
    """One of several words; a misspelt one is answered with a suggestion."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Returns the message for a value that is not among the choices."""
        return f"{value!r} is not a valid choice; {suggest(str(value), map(str, self.choices))}"
