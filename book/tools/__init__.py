"""The tools behind the Makefile: set-up, execution, recorded numbers, the HTML."""
