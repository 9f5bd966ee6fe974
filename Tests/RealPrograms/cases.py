"""What a case is: a function with a sentence, a group, and the programs that it needs."""

import shutil

CASES = []


class Skip(Exception):
    """The case cannot be run here; the text says why."""


class Case:
    def __init__(self, function, group, sentence, needs):
        self.function, self.group, self.sentence, self.needs = function, group, sentence, needs
        self.name = function.__name__

    def missing(self):
        return [program for program in self.needs if shutil.which(program) is None]


def case(group, sentence, needs=()):
    """Make a case of a function that takes the context, and raises if what it says is not so."""
    def register(function):
        CASES.append(Case(function, group, sentence, needs))
        return function
    return register


def need(*modules):
    """Skip when Python packages are missing."""
    import importlib.util
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise Skip("not installed: " + ", ".join(missing))
