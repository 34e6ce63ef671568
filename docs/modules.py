"""The tables in the modules' README files: what goes in and what comes out, read from the code itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

MODULES = Path(__file__).resolve().parent.parent / "modules"
START = "## Inputs\n"
END = "## Tests\n"
BLOCK = r'^%s "(\w+)" \{\n(.*?)^\}'


def module_readmes() -> dict[Path, str]:
    """Return the README of each module with its tables written anew; the words around them are a person's."""
    pages = {}
    for main in sorted(MODULES.glob("*/main.tf")):
        readme = main.parent / "README.md"
        text = readme.read_text(encoding="utf-8")
        before, _, rest = text.partition(START)
        pages[readme] = before + tables(main.parent) + END + rest.partition(END)[2]
    return pages


def tables(module: Path) -> str:
    """Return the tables of a module's variables and outputs."""
    lines = [START, "| name | type | what | default |", "|---|---|---|---|"]
    for name, body in blocks("variable", module / "variables.tf"):
        lines.append(f"| `{name}` | `{kind(body)}` | {described(body)} | {default(body)} |")
    lines += ["", "## Outputs", "", "| name | what |", "|---|---|"]
    lines += [f"| `{name}` | {described(body)} |" for name, body in blocks("output", module / "outputs.tf")]
    examples = sorted(path.parent.name for path in module.glob("examples/*/main.tf"))
    if examples:
        lines += ["", "## Examples", ""]
        lines += [f"- [{name}](examples/{name}/main.tf)" for name in examples]
    return "\n".join(lines) + "\n\n"


def blocks(keyword: str, file: Path) -> Iterator[tuple[str, str]]:
    """Yield name and body of each block of a kind, in their order."""
    yield from re.findall(BLOCK % keyword, file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def kind(body: str) -> str:
    """Return the type of a variable on one line; `object` stands for its fields, which the description lists."""
    found = re.search(r"^  type\s+= (.*?)(?=^  \w)", body + "  end", re.MULTILINE | re.DOTALL)
    text = " ".join(found.group(1).split()) if found else "any"
    return re.sub(r"object\(\{.*\}\)", "object", text)


def described(body: str) -> str:
    """Return a description on one line; in a longer one, the lines that are indented are fields."""
    found = re.search(r'^  description = "(.*)"$', body, re.MULTILINE)
    if found:
        return found.group(1).replace("|", "\\|")
    lines = re.search(r"^  description = <<-EOT\n(.*?)^  EOT$", body, re.MULTILINE | re.DOTALL)
    if not lines:
        return ""
    first, *fields = [line.removeprefix("    ") for line in lines.group(1).splitlines()]
    told = [re.sub(r"^ *([\w, ]+):", lambda m: ", ".join(f"`{n}`" for n in m[1].split(", ")) + ":", f) for f in fields]
    return "; ".join([first.rstrip("."), *told]).replace("|", "\\|")


def default(body: str) -> str:
    """Return a variable's default as code, or that there is none."""
    found = re.search(r"^  default\s+= (.*)$", body, re.MULTILINE)
    return f"`{found.group(1)}`" if found else "required"
