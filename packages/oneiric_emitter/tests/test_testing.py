import doctest

from oneiric import testing


def test_the_example_runs() -> None:
    assert doctest.testmod(testing).failed == 0
