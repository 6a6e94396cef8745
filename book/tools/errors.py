"""The error that stops a tool with one message instead of a traceback."""


class ToolError(Exception):
    """A tool cannot go on; the message says what is wrong and what to do."""
