"""The deployment's signature: an Ed25519 key in its home, its public half in the platform's bucket."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from runner.cloud_values import Cloud
from state.errors import CloudError, EnvironmentMissingError
from state.keys import signing_key
from state.signature import Signer


def open_signer(folder: Path) -> Signer:
    """Return the deployment's signer; its key is made when there is none, readable by nobody else.

    Two processes that start at once end up with one key: the first link stands.

    Raises:
        EnvironmentMissingError: the key cannot be read or made.
    """
    path = folder / "certificate.pem"
    try:
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = folder / f".certificate.{os.getpid()}"
            draft.unlink(missing_ok=True)
            text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        found = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise EnvironmentMissingError(
            f"The key that signs certificates, {path}, cannot be used: {why}. Put it back, or move it away: "
            "a new one is made, and older certificates still verify by the published one."
        ) from None
    if not isinstance(found, Ed25519PrivateKey):
        raise EnvironmentMissingError(f"{path} holds no Ed25519 key. Move it away: a new one is made.")
    return Signer(key=found)


def publish(cloud: Cloud, bucket: str, signer: Signer) -> bool:
    """Publish the public half in the platform's bucket, under its own fingerprint; return whether that worked."""
    key = signing_key(signer.fingerprint)
    try:
        if cloud.head(bucket, key) is None:
            cloud.write(bucket, key, public_half(signer), content_type="application/x-pem-file")
    except CloudError:
        return False
    return True


def published_key(cloud: Cloud, bucket: str, fingerprint: str) -> bytes | None:
    """Return the published public key of a fingerprint, PEM; None when the platform never published it."""
    try:
        return cloud.read(bucket, signing_key(fingerprint), limit=4096)
    except CloudError as error:
        if error.code in {"NoSuchKey", "NoSuchBucket"}:
            return None
        raise


def own_key(folder: Path, fingerprint: str) -> bytes | None:
    """Return the public half of a home's own key, PEM; None when there is none, or it is another."""
    if not (folder / "certificate.pem").exists():
        return None
    signer = open_signer(folder)
    return public_half(signer) if signer.fingerprint == fingerprint else None


def public_half(signer: Signer) -> bytes:
    """Return the public half of a signer's key, PEM."""
    return signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
