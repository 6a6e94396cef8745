"""The one exception that bad input raises, in every room of the package."""


class InputError(ValueError):
    """A user's input cannot be used; the message is one sentence naming it and the remedy.

    Examples
    --------
    >>> import graphseg as gs
    >>> try:
    ...     gs.read("missing.png")
    ... except gs.InputError as error:
    ...     print(error)
    missing.png does not exist; check the name.
    """
