"""The commands of plist-workflows(7), in the order of the page, with what its comments say about each block."""

import re
from dataclasses import dataclass, field

from . import places

PAGE = places.TOP / "man" / "plist-workflows.7"


@dataclass
class Step:
    kind: str  # "run", "not run", "shown", "test"
    argument: str
    line: int
    commands: list = field(default_factory=list)


def commands_of(lines):
    """Lines that begin with "$ ", each with its continuation lines."""
    commands = []
    for text in lines:
        text = text.replace("\\e", "\\")
        if text.startswith("$ "):
            commands.append(text[2:])
        elif commands and commands[-1].endswith("\\"):
            commands[-1] += "\n" + text
    return commands


def read_page():
    """{workflow: [steps]}. A literal block without a mark is an error in the page."""
    workflows, name, mark, block = {}, None, None, None
    for number, text in enumerate(PAGE.read_text().splitlines(), 1):
        told = re.match(r'\.\\" (workflow|run|not run|shown|test): (.+)$', text)
        if block is not None:
            if text == ".Ed":
                mark.commands = commands_of(block)
                workflows[name].append(mark)
                mark = block = None
            else:
                block.append(text)
        elif text.startswith(".Bd -literal"):
            assert mark, f"{PAGE.name}:{number}: a block that is not marked"
            block = []
        elif told and number > 10:
            kind, argument = told.groups()
            if kind == "workflow":
                name = argument
                workflows[name] = []
            elif kind == "test":
                workflows[name].append(Step(kind, argument, number))
            else:
                mark = Step(kind, argument, number)
        else:
            assert mark is None, f"{PAGE.name}:{number}: a mark that no block follows"
    return workflows
