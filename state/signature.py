"""Signing and checking certificates: Ed25519 over the certificate's own facts in one canonical form of JSON.

Pure: the same key and facts give the same signature. What is signed is everything but the signature itself, with sorted
keys and no spaces, so that a certificate may be laid out anew without breaking it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from state.errors import StateError

FIELD = "signature"
ALGORITHM = "Ed25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs with one key."""

    key: Ed25519PrivateKey = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """The name of the key: 32 hexadecimal digits of the SHA-256 of its public half."""
        return fingerprint_of(self.key.public_key())

    def sign(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts with their signature."""
        kept = {name: value for name, value in facts.items() if name != FIELD}
        value = base64.b64encode(self.key.sign(canonical(kept))).decode()
        return {**kept, FIELD: {"algorithm": ALGORITHM, "key": self.fingerprint, "value": value}}


def fingerprint_of(key: Ed25519PublicKey) -> str:
    """Return the name of a public key."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]


def key_named(facts: Mapping[str, Any]) -> str:
    """Return the fingerprint of the key that a certificate says it was signed with.

    Raises:
        StateError: it carries no signature of ours.
    """
    signature = facts.get(FIELD)
    if not isinstance(signature, dict) or signature.get("algorithm") != ALGORITHM:
        raise StateError("This certificate carries no Ed25519 signature: it was not written by Mayfly, or was cut.")
    return str(signature.get("key", ""))


def verify(facts: Mapping[str, Any], public_key: bytes) -> None:
    """Check that a certificate is what its signer wrote, to the letter.

    Raises:
        StateError: it is not, or the key is none, or another one.
    """
    named = key_named(facts)
    try:
        key = load_pem_public_key(public_key)
    except ValueError:
        raise StateError("The public key cannot be read: it must be a PEM file.") from None
    if not isinstance(key, Ed25519PublicKey) or fingerprint_of(key) != named:
        raise StateError(f"The certificate was signed with the key {named}, and that is not the public key at hand.")
    kept = {name: value for name, value in facts.items() if name != FIELD}
    try:
        key.verify(base64.b64decode(str(facts[FIELD].get("value", "")), validate=True), canonical(kept))
    except (InvalidSignature, ValueError):
        raise StateError("The certificate was changed after it was signed: its signature does not fit.") from None


def canonical(facts: Mapping[str, Any]) -> bytes:
    """Return the one form of facts that is signed."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
