"""The parts of the bench, each a function of the results and of whether the long form is wanted."""

from . import guests


def ground(results, slow):
    """the simulated hardware itself"""
    guests.run_part("ground", results, 180)


PARTS = {"ground": ground}


def table(results):
    """What the bench measured."""
    if results.figures:
        print("measured:")
        for name, value in results.figures.items():
            print(f"  {name:<60} {value}")
