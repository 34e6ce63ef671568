"""Stands between Terraform and a provider, answers for the provider's schema, and passes everything else on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

# Terraform is started from this process; its C threads must not run code of their own in the child of a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc

SCHEMA: Final = frozenset({"GetSchema", "GetProviderSchema"})
"""The call, as versions 5 and 6 of the plugin protocol name it."""
SERVICE: Final = "/tfplugin"
ANY_SIZE: Final = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
THREADS: Final = 16
"""Calls at a time: Terraform makes ten."""

Fetch = Callable[[bytes], bytes]
Schema = Callable[[Fetch], bytes]
"""Returns the schema; is given what asks the provider itself."""


class _Relay(grpc.GenericRpcHandler):
    """Passes the calls of the plugin protocol on, byte by byte."""

    def __init__(self, channel: grpc.Channel, schema: Schema) -> None:
        self._channel, self._schema = channel, schema

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        path = handler_call_details.method
        if not path.startswith(SERVICE):
            return None  # logs and side channels, which Terraform does without
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)

        def relay(request: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return self._schema(ask) if path.rpartition("/")[2] in SCHEMA else ask(request)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details() or "")
                raise  # abort does not return

        return grpc.unary_unary_rpc_method_handler(relay)


@contextmanager
def relay(provider: str, folder: Path, schema: Schema) -> Iterator[str]:
    """Serve a provider's socket under another address for as long as the block lasts; give that address.

    Args:
        provider: path of the provider's socket.
        folder: where the new socket goes; only this user may enter it.
        schema: answers for the schema.
    """
    address = str(folder / "relay.sock")
    with grpc.insecure_channel(f"unix:{provider}", options=ANY_SIZE) as channel:
        server = grpc.server(ThreadPoolExecutor(THREADS), handlers=[_Relay(channel, schema)], options=ANY_SIZE)
        server.add_insecure_port(f"unix:{address}")
        server.start()
        try:
            yield address
        finally:
            server.stop(grace=None).wait()
