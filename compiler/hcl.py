"""The little HCL that is generated: structure from templates, and strings quoted so that they are only strings.

What users and authors write never comes here: it travels in `.auto.tfvars.json`. Quoting is for what the compiler
itself puts into structure.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

REQUIRED_TERRAFORM: Final = ">= 1.10"
PROVIDER_FROM: Final = "5.100"
PROVIDER_BEFORE: Final = "7"
"""Versions of the AWS provider that the modules are written for: the first, and the first that is too new."""
REQUIRED_PROVIDER: Final = f">= {PROVIDER_FROM}, < {PROVIDER_BEFORE}"
SCHEMA_VERSION: Final = "1"
"""Counts the changes of generated roots that an earlier release could not read."""

_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_DELETE: Final = 0x7F
_SURROGATES: Final = range(0xD800, 0xE000)


def quote(text: str) -> str:
    """Return a string literal of HCL that means exactly this text: no template, no escape of its own.

    Raises:
        ValueError: the text holds half of a surrogate pair, which no UTF-8 file can carry.
    """
    out = []
    for char in text:
        code = ord(char)
        if code in _SURROGATES:
            raise ValueError(f"U+{code:04X} is half a character and cannot be written")
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif code < ord(" ") or code == _DELETE:
            out.append(f"\\u{code:04x}")
        else:
            out.append(char)
    return '"' + "".join(out).replace("${", "$${").replace("%{", "%%{") + '"'


def comment(text: str) -> str:
    """Return text that may stand in a comment: on one line, printable."""
    return "".join(char if char.isprintable() else "?" for char in text)


def check_name(text: str) -> str:
    """Return a name or an address of ours that stands in structure as it is.

    Raises:
        ValueError: it is something else; nothing that a user wrote may come here.
    """
    if not all(part.isidentifier() for part in text.split(".")):
        raise ValueError(f"{text!r} is not a name")
    return text


@cache
def _templates() -> Environment:
    """Return the templates; every value in them passes `hcl` or `comment`, which a test holds."""
    environment = Environment(
        loader=PackageLoader("compiler", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 this is no HTML
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["hcl"] = quote
    environment.filters["comment"] = comment
    environment.filters["name"] = check_name
    environment.globals["schema"] = SCHEMA_VERSION
    environment.globals["required_terraform"] = REQUIRED_TERRAFORM
    environment.globals["required_provider"] = REQUIRED_PROVIDER
    return environment


def render_template(name: str, **values: str) -> str:
    """Return a template with its values filled in."""
    return _templates().get_template(name).render(values)
