"""Print the requirements of the named lists of pyproject.toml ('build', 'runtime'), one word each, for the Makefile."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text())
lists = {"build": project["build-system"]["requires"], "runtime": project["project"]["dependencies"]}
print(*(requirement.replace(" ", "") for name in sys.argv[1:] for requirement in lists[name]))
