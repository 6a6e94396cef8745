"""Importing the package is quick, compared with importing NumPy in the same minute."""

from book.tools import startup


def test_the_package_starts_about_as_fast_as_numpy():
    """The targets, 0.3 and 0.7 s, are 3 and 6 times NumPy's start on the machine that records."""
    found = startup.seconds(3)
    assert set(found) == set(startup.STARTS) and min(found.values()) > 0
    ratios = startup.ratios(found)
    assert ratios["import graphseg / import numpy"] < 2
    assert ratios["graphseg --help / import numpy"] < 6
