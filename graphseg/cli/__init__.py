"""The command line, ``graphseg --help``: thin commands for users.

`application` holds the program, its errors and the commands for a folder of micrographs; `labels`
and `networks` hold the commands that correct masks, paint labels and make networks. It may import
all other rooms, but a command does so only when it is called, so that `--help` is quick.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"application": ["app", "call", "main"]}
)
