"""Text that is put into HCL, or beside it as tfvars, means itself and nothing else."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.hcl import comment, quote
from compiler.names import tidy_json
from runner.toolchain import find_toolchain

HOSTILE = [
    "${1+1}",
    "$${1+1}",
    "$$${x}",
    "%{if true}x%{endif}",
    "%%{x}",
    "$",
    "${",
    "%{",
    '"',
    "\\",
    '\\"',
    "\\${x}",
    "\\u0041",
    "a\nb\r\n\tc",
    "\x00\x01\x08\x0c\x1b\x7f\x85",
    "EOF",
    "<<EOT\nx\nEOT",
    "# // /* */",
    "é 😀 \u2028 \u2029 \ufeff \u202e",
    '${file("/etc/hostname")}',
    "</script><script>",
    "'; rm -rf ~ #`id`$(id)",
    "",
    " ",
]


def test_known_spellings() -> None:
    assert quote("plain") == '"plain"'
    assert quote('a"b\\c') == '"a\\"b\\\\c"'
    assert quote("a\nb\t\x01") == '"a\\nb\\t\\u0001"'
    assert quote("${x} $${x} %{y} $x") == '"$${x} $$${x} %%{y} $x"'
    assert quote("😀") == '"😀"'


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ValueError, match="U\\+D83D is half a character"):
        quote("\ud83d")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_quoted_text_is_one_line_with_no_open_template(text: str) -> None:
    quoted = quote(text)
    assert re.fullmatch(r'"(?:[^"\\\x00-\x1f]|\\["\\nrt]|\\u[0-9a-f]{4})*"', quoted)
    unescaped = quoted.replace("$${", "").replace("%%{", "")
    assert "${" not in unescaped
    assert "%{" not in unescaped


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_comment_ends_with_its_line(text: str) -> None:
    assert comment(text).isprintable()
    assert len(comment(text).splitlines()) <= 1


@pytest.mark.terraform
def test_terraform_reads_back_what_was_written(tmp_path: Path) -> None:
    """No provider: this asks Terraform's own parsers, for literals in HCL and for values and keys in tfvars."""
    generator = random.Random(7)  # noqa: S311 the same texts every time
    alphabet = "${}%\"\\\n\t 'a/é😀\x01\x7f<>#~!()[]=EOT"
    texts = HOSTILE + ["".join(generator.choices(alphabet, k=generator.randrange(1, 30))) for _ in range(200)]
    root = tmp_path / "root"
    root.mkdir()
    (root / "main.tf").write_text(
        'variable "values" {\n  type = list(string)\n}\n\nvariable "keys" {\n  type = map(string)\n}\n\n'
        'output "values" {\n  value = var.values\n}\n\noutput "keys" {\n  value = var.keys\n}\n\n'
        'output "literals" {\n  value = [\n' + "".join(f"    {quote(text)},\n" for text in texts) + "  ]\n}\n",
        encoding="utf-8",
    )
    (root / "x.auto.tfvars.json").write_text(tidy_json({"values": texts, "keys": dict.fromkeys(texts, "v")}))
    toolchain = find_toolchain(tmp_path / "terraform", os.environ)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}

    def terraform(*arguments: str) -> str:
        command = [str(toolchain.binary), *arguments]
        done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    terraform("apply", "-auto-approve", "-input=false", "-no-color")
    outputs = {name: one["value"] for name, one in json.loads(terraform("output", "-json")).items()}
    assert outputs["literals"] == texts
    assert outputs["values"] == texts
    assert set(outputs["keys"]) == set(texts)
