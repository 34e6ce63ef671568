"""YAML in, plain data with positions out; everything else is refused with its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.source import MAX_BYTES, Document, parse_document, read_document, resolve_scalar, spell_path
from state.errors import Place, SourcesError

BILLION_LAUGHS = "a: &a [x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def refusal(raw: bytes) -> str:
    with pytest.raises(SourcesError) as caught:
        parse_document(raw, file="f.yaml")
    return str(caught.value)


def test_positions_count_from_one_and_name_keys_and_values() -> None:
    document = parse_document(b"a:\n  b: [1, two]\n", file="f.yaml")
    assert document.data == {"a": {"b": [1, "two"]}}
    assert document.place(("a", "b", 1)) == Place(file="f.yaml", line=2, column=10)
    assert document.place(("a", "b"), key=True) == Place(file="f.yaml", line=2, column=3)


def test_what_is_missing_is_placed_at_its_parent() -> None:
    document = parse_document(b"a:\n  b: 1\n", file="f.yaml")
    assert str(document.place(("a", "c", "d"))) == "f.yaml:2:3"
    assert str(document.place(("a", "c"), key=True)) == "f.yaml:2:3"


def test_an_error_spells_the_path() -> None:
    document = parse_document(b"a:\n  - b: 1\n", file="f.yaml")
    error = document.error("is wrong.", ("a", 0, "b"), way_out="Mend it.", rule="wrong-value")
    assert str(error) == "f.yaml:2:8: a[0].b: is wrong. Mend it."
    assert spell_path(()) == ""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("012", 12),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        ("0x1F", 31),
        ("0o17", 15),
        ("-3", -3),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1e999", "1e999"),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("1_000", "1_000"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert resolve_scalar(text) == value
    assert type(resolve_scalar(text)) is type(value)


def test_quotes_make_text() -> None:
    assert parse_document(b"a: '1'\nb: \"true\"\nc: |\n  12\n", file="f").data == {"a": "1", "b": "true", "c": "12\n"}


def test_an_empty_file_and_a_list_can_be_read() -> None:
    assert parse_document(b"", file="f").data is None
    assert parse_document(b"# only a comment\n", file="f").data is None
    assert parse_document(b"- 1\n- 2\n", file="f").data == [1, 2]


def test_tabs_are_named() -> None:
    message = refusal(b"a:\n\tb: 1\n")
    assert message.startswith("f.yaml:2:")
    assert "Indent with spaces" in message


def test_all_duplicate_keys_are_told_at_once() -> None:
    message = refusal(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert "f.yaml:4:3: b.c: the key stands here and in line 3." in message
    assert "f.yaml:5:1: a: the key stands here and in line 1." in message


def test_aliases_are_refused_before_they_expand() -> None:
    start = time.process_time()
    assert "f.yaml:1:4: a: anchors and aliases are not read." in refusal(BILLION_LAUGHS.encode())
    assert "are not read" in refusal(b"a: *b\n")
    assert "must be plain text" in refusal(b"&a a: 1\n")
    assert time.process_time() - start < 1


def test_tags_are_refused() -> None:
    assert "the tag 'tag:yaml.org,2002:python/object/apply:os.system'" in refusal(
        b"a: !!python/object/apply:os.system [x]"
    )
    assert "the tag '!secret'" in refusal(b"a: !secret x\n")
    assert "the tag" in refusal(b"a: !!str 1\n")
    assert "the tag" in refusal(b"a: !!map {}\n")


def test_a_second_document_is_refused() -> None:
    assert "f.yaml:2:1: a second document starts here." in refusal(b"a: 1\n---\nb: 2\n")


def test_depth_is_bounded() -> None:
    start = time.process_time()
    assert "nested more than 40 levels" in refusal(b"a: " + b"[" * 300_000)
    assert time.process_time() - start < 5


def test_keys_are_text() -> None:
    assert "a key must be plain text" in refusal(b"? [1]\n: 2\n")
    assert parse_document(b"1: x\ntrue: y\n", file="f").data == {"1": "x", "true": "y"}


def test_size_encoding_and_nul() -> None:
    assert "larger than 1000 kB" in refusal(b"#" * (MAX_BYTES + 1))
    assert refusal(b"a: 1\nb: caf\xe9\n").startswith("f.yaml:2:7: is not UTF-8.")
    assert refusal(b"a: 1\nb: \0\n").startswith("f.yaml:2:4: holds a NUL")
    assert "is not UTF-8" in refusal("a: 1\n".encode("utf-16"))
    assert "is not YAML" in refusal(b"a: \x07\n")
    assert parse_document(b"\xef\xbb\xbfa: 1\r\n", file="f").data == {"a": 1}


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("a: 1\n")
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    assert read_document(tmp_path / "real.yaml", file="real.yaml").data == {"a": 1}
    for name, reason in (
        ("link.yaml", "not a regular file"),
        ("none.yaml", "No such file"),
        (".", "not a regular file"),
    ):
        with pytest.raises(SourcesError, match=reason):
            read_document(tmp_path / name, file=name)


def read_or_refuse(raw: bytes) -> Document | str:
    try:
        return parse_document(raw, file="f.yaml")
    except SourcesError as error:
        return str(error)


@given(st.binary(max_size=200))
def test_no_bytes_can_break_the_reader(raw: bytes) -> None:
    result = read_or_refuse(raw)
    assert isinstance(result, Document) or result.startswith("f.yaml")


@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`,? \n\t0", max_size=60))
def test_no_text_that_looks_like_yaml_can_break_the_reader(text: str) -> None:
    result = read_or_refuse(text.encode())
    assert isinstance(result, Document) or result.startswith("f.yaml")
