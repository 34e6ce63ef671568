"""A provider behind a relay: its description is asked for once and cut down; all else passes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.review.provider import KeptSchema
from runner.review.proxy import relay
from runner.review.schema import kinds_of, trim

RESOURCES, DATA, SERVER, FUNCTIONS = 2, 3, 6, 7


def number(value: int) -> bytes:
    """Return a number as protocol buffers write it."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)


def field(name: int, content: bytes) -> bytes:
    return number(name << 3 | 2) + number(len(content)) + content


def kind(name: str, description: bytes = b"") -> bytes:
    return field(1, name.encode()) + field(2, description)


SCHEMA = b"".join(
    [
        field(1, b"the provider itself"),
        field(RESOURCES, kind("aws_instance", b"x" * 300)),
        field(RESOURCES, kind("aws_queue", b"y" * 300)),
        field(DATA, kind("aws_region")),
        field(DATA, kind("aws_ami")),
        field(SERVER, b"what it can do"),
        field(FUNCTIONS, kind("arn_parse")),
    ]
)


def test_only_the_kinds_of_the_code_are_left_and_what_is_no_kind_stays() -> None:
    assert trim(SCHEMA, {"aws_instance", "aws_region"}) == b"".join(
        [
            field(1, b"the provider itself"),
            field(RESOURCES, kind("aws_instance", b"x" * 300)),
            field(DATA, kind("aws_region")),
            field(SERVER, b"what it can do"),
        ]
    )


@given(st.binary(max_size=60))
def test_what_is_no_answer_is_refused_and_never_read_past_its_end(text: bytes) -> None:
    try:
        kept = trim(text, {"aws_instance"})
    except ValueError:
        return
    assert len(kept) <= len(text)


@given(st.lists(st.tuples(st.integers(1, 20), st.binary(max_size=300)), max_size=8))
def test_an_answer_of_wanted_kinds_passes_whole(fields: list[tuple[int, bytes]]) -> None:
    whole = b"".join(
        field(name, kind("aws_a", content) if name in {2, 3, 7, 8} else content) for name, content in fields
    )
    assert trim(whole, {"aws_a"}) == whole


def test_kinds_are_read_from_the_code_of_root_and_modules(tmp_path: Path) -> None:
    (tmp_path / "module").mkdir()
    (tmp_path / "main.tf").write_text('data "aws_region" "here" {}\n# resource "aws_no" "x" {}\nmodule "m" {}\n')
    (tmp_path / "module" / "main.tf").write_text('resource "aws_instance" "task" {\n}\n')
    assert kinds_of(tmp_path) == {"aws_region", "aws_instance"}


# The relay ----------------------------------------------------------------------------------------------------------


class Provider(grpc.GenericRpcHandler):
    """Answers with its schema, repeats a plan's words, and fails when asked to configure."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        name = handler_call_details.method.rpartition("/")[2]

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.asked.append(name)
            if name == "Configure":
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such region")
            return SCHEMA if name == "GetSchema" else b"said: " + request

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Provider, str]]:
    """Stand in the folder: the path of a socket may not be long, and that of a test's folder is."""
    monkeypatch.chdir(tmp_path)
    made, address = Provider(), "provider.sock"
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, handlers=[made])
        server.add_insecure_port(f"unix:{address}")
        server.start()
        yield made, address
        server.stop(None).wait()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "terraform-provider-aws"
    path.write_text("a program")
    return path


def call(address: str, name: str, request: bytes) -> bytes:
    with grpc.insecure_channel(f"unix:{address}") as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/tfplugin5.Provider/{name}")
        return ask(request, timeout=10)


def test_the_schema_is_asked_for_once_and_everything_else_passes(
    provider: tuple[Provider, str], program: Path, tmp_path: Path
) -> None:
    made, address = provider
    with relay(address, Path(), KeptSchema(program, tmp_path / "kept", {"aws_queue"})) as near:
        assert [call(near, "GetSchema", b"") for _ in range(3)] == [trim(SCHEMA, {"aws_queue"})] * 3
        assert call(near, "PlanResourceChange", b"a bucket") == b"said: a bucket"
        with pytest.raises(grpc.RpcError) as refused:
            call(near, "Configure", b"moon-1")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "no such region"
    assert made.asked == ["GetSchema", "PlanResourceChange", "Configure"]


def never(_: bytes) -> bytes:
    raise AssertionError("the provider was asked again")


def test_the_description_is_kept_for_the_next_run_until_the_program_is_another(program: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    ask: Callable[[bytes], bytes] = lambda _: SCHEMA  # noqa: E731
    KeptSchema(program, kept, {"aws_queue"})(ask)
    assert KeptSchema(program, kept, {"aws_ami"})(never) == trim(SCHEMA, {"aws_ami"})
    program.write_text("the program of the next release")
    with pytest.raises(AssertionError, match="asked again"):
        KeptSchema(program, kept, {"aws_ami"})(never)


def test_a_description_of_which_half_is_kept_is_asked_for_again(program: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    KeptSchema(program, kept, {"aws_queue"})(lambda _: SCHEMA)
    [file] = kept.iterdir()
    file.write_bytes(SCHEMA[: len(SCHEMA) // 2])
    assert KeptSchema(program, kept, {"aws_queue"})(lambda _: SCHEMA) == trim(SCHEMA, {"aws_queue"})
    assert file.read_bytes() == SCHEMA
