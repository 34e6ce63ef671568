"""What a user asked for: one uploaded submit.json, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from state.keys import ResultKeys

ETAG = "etag:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """One version of one object: the identity of a submission, however often its event is delivered.

    Attributes:
        bucket: its bucket.
        key: its key.
        version: S3's version id; in a bucket without versions, `etag:` and the ETag.
    """

    bucket: str
    key: str
    version: str

    @property
    def version_id(self) -> str | None:
        """The version to ask S3 for, or None in a bucket without versions."""
        return None if self.version.startswith(ETAG) else self.version


def identify(bucket: str, key: str, *, version: str, etag: str) -> ObjectVersion:
    """Return the identity of an object from what an event or a HEAD says of it."""
    real = version not in {"", "null"}  # what was written before versions were switched on has the version "null"
    return ObjectVersion(bucket=bucket, key=key, version=version if real else f"{ETAG}{etag}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A submit.json that could be read; nothing of it has been checked against the platform yet.

    Attributes:
        source: the object it was read from.
        group: the group whose prefix it was uploaded to.
        name: the part of its key that names the job; may be empty.
        datasets: keys (or prefixes that end in "/") in `data_bucket`, one task each, in the order given.
        config: key of the config file in `data_bucket`.
        timestamp: the user's own unique text; names the result folder.
        instance_type: the user's choice, or None for the blueprint's first.
        data_bucket: where datasets and config are: the analysis's bucket, or the user's with storage bypass.
        results: where everything goes.
        bypass: whether the submission names a storage of its own.
    """

    source: ObjectVersion
    group: str
    name: str
    datasets: tuple[str, ...]
    config: str
    timestamp: str
    instance_type: str | None
    data_bucket: str
    results: ResultKeys
    bypass: bool = False
