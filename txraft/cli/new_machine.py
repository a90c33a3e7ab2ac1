"""`txraft new-machine NAME`: a distribution with a state machine, its plug-in and its tests, to be installed and changed."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib import resources
from pathlib import Path
from shlex import quote
from string import Template

from txraft.cli.main import SUBCOMMANDS
from txraft.cli.output import json_line
from txraft.cli.settings import Parser, Settings, UsageProblem, add_common_options, with_options
from txraft.config.values import RESERVED_MACHINE_NAMES
from txraft.statemachine import available_plugins

__all__ = ["check_name", "class_name_of", "run", "write_distribution"]

NAME_CHARACTERS_MAX = 64
_NAME = re.compile("[a-z][a-z0-9_]*")

FILES = {
    "pyproject.toml": "pyproject.toml",
    "setup.cfg": "setup.cfg",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    "$name/__init__.py": "package.py",
    "$name/py.typed": "",
    "$name/machine.py": "machine.py",
    "twisted/plugins/${name}_plugin.py": "plugin.py",
    "tests/__init__.py": "tests.py",
    "tests/test_$name.py": "test_machine.py",
}
"""The template of each file; "" for an empty one."""

TAKEN = frozenset({
    "Annotated", "Any", "Context", "Count", "False", "Host", "Hosted", "Invoke", "Item", "Limits", "Meta", "Methods", "None", "Plugin",
    "Random", "Refused", "Server", "True",
})  # fmt: skip
"""Names that stand in the templates, or mean something to Python."""


def run(settings: Settings, arguments: list[str]) -> int:
    """Write the distribution, and say what to do next."""
    parser = Parser(prog="txraft new-machine", description=__doc__.partition(": ")[2], allow_abbrev=False)
    parser.add_argument("name", metavar="NAME", help="of the machine, its package and its folder: small letters, digits and _")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where to write it instead of the folder NAME; must be new or empty")
    add_common_options(parser)
    given = parser.parse_args(arguments)
    settings = with_options(settings, given)
    check_name(given.name)
    directory = given.directory or Path(given.name)
    written = write_distribution(given.name, directory)
    if settings.as_json:
        print(json_line({"directory": str(directory), "files": written, "machine": f"{given.name}.machine:{class_name_of(given.name)}"}))
        return 0
    print(f"{directory}: a state machine named {given.name}, with its tests. Next:")
    for command in (
        f"cd {quote(str(directory))} && pip install -e .",
        "python -m twisted.trial tests",
        f"txraft dev --machine {given.name}.machine:{class_name_of(given.name)}",
    ):
        print(f"  {command}")
    return 0


def check_name(name: str) -> None:
    """Whether a package, a plug-in and a machine can have this name, here and now.

    Raises:
        UsageProblem: not; the sentence says why.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_CHARACTERS_MAX:
        raise UsageProblem(
            f"{name!r} cannot name a machine: use small letters, digits and _, beginning with a letter, at most {NAME_CHARACTERS_MAX}"
        )
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise UsageProblem(f"{name!r} cannot name a package: it is a keyword of Python")
    if name in SUBCOMMANDS or name in RESERVED_MACHINE_NAMES:
        raise UsageProblem(f"{name!r} cannot name a machine: the command txraft {name} or the address /v1/{name} is taken")
    if name == "tests" or name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise UsageProblem(f"there is a module {name!r} already, which the new package would hide or be hidden by: choose another name")
    for plugin in available_plugins():
        if name in (plugin.name, plugin.name.removesuffix("_plugin.py")):
            raise UsageProblem(f"there is a plug-in {name!r} already, in {plugin.origin}: choose another name")


def class_name_of(name: str) -> str:
    """`WordCount` of `word_count`; something longer where that would hide what the templates import."""
    class_name = "".join(word.capitalize() for word in name.split("_"))
    return f"{class_name}Machine" if class_name in TAKEN else class_name


def write_distribution(name: str, directory: Path) -> list[str]:
    """Write all files of a distribution with the machine `name`; their paths within the directory.

    Raises:
        UsageProblem: the directory is not empty, or cannot be written.
    """
    words = {"name": name, "class_name": class_name_of(name), "distribution": name.replace("_", "-")}
    templates = resources.files("txraft") / "cli" / "templates"
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise UsageProblem(f"{directory} is not empty: name a new directory")
        for path, template in FILES.items():
            text = (templates / f"{template}.template").read_text("utf-8") if template else ""
            written.append(Template(path).substitute(words))
            file = directory / written[-1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template(text).substitute(words), "utf-8")
    except OSError as error:
        raise UsageProblem(f"{error.filename or directory}: {error.strerror}") from None
    return written
