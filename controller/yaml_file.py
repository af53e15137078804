"""YAML files: plain data only, with numbers as people write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from controller.errors import InputError
from controller.text_file import read_text


class _Loader(yaml.SafeLoader):
    """Safe YAML in which ``8e-05`` is a number, as in YAML 1.2; the 1.1 that PyYAML speaks reads it as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def load_yaml(path: Path, error: type[InputError] = InputError) -> Any:
    """Parse a YAML file.

    Raises
    ------
    InputError : of type ``error``; no such file, unreadable, or not YAML.
    """
    text = read_text(path, error)
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, RecursionError) as problem:
        raise error(str(path), f"not YAML: {' '.join(str(problem).split())}") from None
