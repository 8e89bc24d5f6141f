"""The one exception that a user's mistake raises."""


class SpokeshaveError(Exception):
    """A mistake that the user can mend: one sentence saying what was wrong, where, and what would be right.

    The command line prints the sentence alone and leaves with exit code 2.
    """
