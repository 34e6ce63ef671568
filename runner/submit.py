"""Submitting, from the user's side: datasets and config go up first, the submit file that starts the job goes last.

It needs no more than a user may do: list, and put. So what is already there is judged by its listing (a user may not
read inputs), and nothing is ever written over: a dataset of the same name and content is used as it is, one of the
same name and other content goes up under a name with a piece of its hash.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from runner.cloud import Cloud, OnBytes
from runner.fingerprint import fingerprint
from runner.parcel import DIGITS, Local, Parcel, dump, parse
from state.errors import UsageError
from state.keys import CANCEL, SUBMIT, ResultKeys, prefix

_JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A submission that is on its way.

    Attributes:
        bucket: the analysis's bucket.
        submit_key: the file that started the job.
        version: of that file; with bucket and key it is the job's identity.
        results: where the results will be.
        datasets: keys of the datasets, in the order given.
        config: key of the config file.
    """

    bucket: str
    submit_key: str
    version: str
    results: ResultKeys
    datasets: tuple[str, ...]
    config: str


def send(cloud: Cloud, parcel: Parcel, *, on_bytes: OnBytes | None = None) -> Submitted:
    """Upload a submission that is ready; its job starts when all of it is there.

    Args:
        cloud: acts as the group.
        parcel: what to send.
        on_bytes: told of every byte that moved, or need not move because it is there.

    Raises:
        UsageError: two datasets are the same.
        CloudError: an upload failed; no job was started.
    """
    bucket, inputs = parcel.bucket, prefix(parcel.group, "inputs")
    keys = tuple(_upload(cloud, bucket, inputs, one, on_bytes) for one in parcel.datasets)
    twins = [str(one.path) for one, key in zip(parcel.datasets, keys, strict=True) if keys.count(key) > 1]
    if twins:
        raise UsageError(f"These have the same name and content: {', '.join(twins)}. Give each dataset once.")
    if not any(info.key == parcel.config_key for info in cloud.list(bucket, parcel.config_key)):
        cloud.write(bucket, parcel.config_key, parcel.config)
    body = {**parcel.asked, "dataname": list(keys)}
    wrote = cloud.write(bucket, parcel.submit_key, dump(body), content_type=_JSON)
    return Submitted(
        bucket=bucket,
        submit_key=parcel.submit_key,
        version=wrote.version or wrote.etag,
        results=parse(body, bucket, parcel.submit_key).results,
        datasets=keys,
        config=parcel.config_key,
    )


def withdraw(cloud: Cloud, parcel: Parcel, reason: str) -> bool:
    """Ask for the job of a submission to be stopped, whoever sees it first, and whether or not it was seen yet.

    Args:
        cloud: acts as the group.
        parcel: what was being sent.
        reason: for the certificate.

    Returns:
        Whether there is anything to stop: without its submit file a submission never starts.
    """
    bucket, key = parcel.bucket, parcel.submit_key
    if not any(info.key == key for info in cloud.list(bucket, key)):
        return False
    wish = {"timestamp": parcel.asked["timestamp"], "reason": " ".join(reason.split())}  # one line, or it is refused
    cloud.write(bucket, f"{key.removesuffix(SUBMIT)}{CANCEL}", dump(wish), content_type=_JSON)
    return True


def _upload(cloud: Cloud, bucket: str, folder: str, dataset: Local, on_bytes: OnBytes | None) -> str:
    """Bring a dataset into the group's inputs, unless it is there, and return its key."""
    prints = {inner: fingerprint(path) for inner, path in dataset.files}
    if dataset.is_folder:
        digest = fingerprint(json.dumps(prints, sort_keys=True).encode())
        keys = [f"{folder}{dataset.name}/", f"{folder}{dataset.name}-{digest[:DIGITS]}/"]
    else:
        stem, dot, suffix = dataset.name.partition(".")
        keys = [f"{folder}{dataset.name}", f"{folder}{stem}-{prints[''][:DIGITS]}{dot}{suffix}"]
    for key in keys:
        there = {info.key.removeprefix(key): info.etag for info in cloud.list(bucket, key) if _belongs(info.key, key)}
        if there.items() <= prints.items():  # nothing else is there, so what is missing can be added
            break
    # Where the last name is taken too, it is by this content: the hash in it says so, whatever its ETag is.
    for inner, path in dataset.files:
        if inner not in there:
            cloud.upload(path, bucket, f"{key}{inner}", on_bytes=on_bytes)
        elif on_bytes:
            on_bytes(path.stat().st_size)
    return key


def _belongs(found: str, key: str) -> bool:
    """Return whether a listed key is part of a dataset; the empty object in a folder's place is not."""
    return (found == key and not key.endswith("/")) or (found.startswith(key) and key.endswith("/") and found != key)
