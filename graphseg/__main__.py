"""``python -m graphseg`` is the command line."""

from graphseg.cli import main

main()
