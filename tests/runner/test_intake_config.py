from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.intake import parse_config
from state.errors import SubmissionError


@pytest.mark.parametrize(
    ("key", "body", "found"),
    [
        ("lab/configs/c.yaml", "n: 3\nname: x\n", {"n": 3, "name": "x"}),
        ("c.YML", "a:\n  - 1\n  - {b: true}\n", {"a": [1, {"b": True}]}),
        ("c.json", '{"n": 3, "f": 0.1, "z": null}', {"n": 3, "f": 0.1, "z": None}),
        ("c.yaml", "", {}),
        ("c.yaml", "# nothing but a remark\n", {}),
        ("c.json", " ", {}),
        ("c.yaml", "\ufeffn: 1", {"n": 1}),
        ("c.yaml", "rate: 1e-4\nbig: 2E3\nday: 2026-11-22\n", {"rate": 1e-4, "big": 2000.0, "day": "2026-11-22"}),
        ("c.yaml", "anchored: &x 1", {"anchored": 1}),
    ],
)
def test_yaml_and_json_are_read_as_plain_values(key: str, body: str, found: dict[str, Any]) -> None:
    assert parse_config(body.encode(), key) == found


BOMB = "a: &a [x,x,x,x]\n" + "\n".join(
    f"{b}: &{b} [*{a},*{a},*{a},*{a}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("key", "body", "words"),
    [
        ("c.txt", b"n: 1", "must end in .yaml, .yml or .json"),
        ("c.yaml", b"n: [1", "not valid YAML"),
        ("c.yaml", b"a: 1\n  b: 2", "line 2, column"),
        ("c.yaml", b"\tn: 1", "not valid YAML"),
        ("c.yaml", b"n: 1\x01", "not valid YAML"),
        ("c.yaml", b"a: 1\n---\nb: 2", "not valid YAML"),
        ("c.yaml", b"n: 1\nn: 2", "'n' is there twice in line 2"),
        ("c.json", b'{"n": 1, "n": 2}', "'n' twice"),
        ("c.json", b"{n: 1}", "not valid JSON"),
        ("c.yaml", b"- 1\n- 2", "must hold parameters"),
        ("c.json", b"3", "must hold parameters"),
        ("c.yaml", b"1: x", "Put it into quotes"),
        ("c.yaml", b"n: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("c.yaml", b"n: !!binary aGk=", "n is a bytes"),
        ("c.yaml", b"n: !!set {a, b}", "n is a set"),
        ("c.yaml", b"n: .nan", "n is nan, but must be a finite number"),
        ("c.json", b'{"a": [1, Infinity]}', "a[1] is inf"),
        ("c.json", b'{"a": "\\ud800"}', "a has a character"),
        ("c.json", b"[" * 100_000, "nested too deeply"),
        ("c.yaml", b"[" * 1000, "more than 50 levels deep"),
        ("c.json", b'{"a":' * 60 + b"1" + b"}" * 60, "more than 50 levels deep"),
        ("c.yaml", BOMB.encode(), "uses an alias (*) in line 2"),
        ("c.yaml", b"\xff", "not UTF-8"),
        ("c.yaml", b"#" * (1024 * 1024 + 1), "larger than 1024 KiB"),
        ("c.yaml", b"? [a]\n: 1", "not valid YAML"),
        ("c.yaml", b"<<: 3", "not valid YAML"),
        ("c.yaml", b"n: 2026-99-99T99:99:99Z\nm: 0o9__", None),
    ],
)
def test_what_is_not_a_config_is_refused_in_one_sentence(key: str, body: bytes, words: str | None) -> None:
    if words is None:
        assert parse_config(body, key)
        return
    with pytest.raises(SubmissionError) as caught:
        parse_config(body, f"lab/configs/{key}")
    assert words in caught.value.reason
    assert "\n" not in caught.value.reason
    assert key in caught.value.reason


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_json_comes_back_unchanged(config: dict[str, Any]) -> None:
    body = json.dumps(config).encode()
    if b"\\u0000" in body:
        with pytest.raises(SubmissionError):
            parse_config(body, "c.json")
    else:
        assert parse_config(body, "c.json") == config


@given(st.text(max_size=60))
def test_no_text_makes_it_stumble(text: str) -> None:
    try:
        found = parse_config(text.encode("utf-8", "surrogatepass"), "c.yaml")
    except SubmissionError:
        return
    json.dumps(found, allow_nan=False)
