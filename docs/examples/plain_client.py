#!/usr/bin/env python3
"""Run an analysis with boto3 and nothing of ours: upload, submit, wait, download.

    python plain_client.py BUCKET GROUP DATASET... [--config FILE] [--to FOLDER]
    python plain_client.py BUCKET GROUP DATASET... --results s3://MY-BUCKET/FOLDER

BUCKET is the analysis's, GROUP yours. With --results everything but the submit file is in a bucket of your own, which
your group's profile must name. For the embedded cloud, first source the file that `mayfly up` prints; on AWS any
credentials of your group do. Ends with 0 when the job is done, with 1 when it ended in another way.

The layout of the bucket is NeuroCAAS's; docs/reference/storage.md describes it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from pathlib import Path

import boto3
from botocore.client import BaseClient
from botocore.exceptions import ClientError

PAUSE_S = 2
POSSIBLY_NOT_YET = {"NoSuchKey", "404"}


class Place:
    """A folder of a bucket."""

    def __init__(self, s3: BaseClient, bucket: str, folder: str) -> None:
        self.s3, self.bucket, self.folder = s3, bucket, folder

    def put(self, name: str, body: bytes) -> str:
        """Write an object and return its key."""
        self.s3.put_object(Bucket=self.bucket, Key=self.folder + name, Body=body)
        return self.folder + name

    def read(self, name: str) -> str | None:
        """Return an object as text; None while it is not there."""
        try:
            return self.s3.get_object(Bucket=self.bucket, Key=self.folder + name)["Body"].read().decode()
        except ClientError as error:
            if error.response["Error"]["Code"] in POSSIBLY_NOT_YET:
                return None
            raise

    def list(self, name: str) -> list[str]:
        """Return the names of the objects in a folder, seen from here."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.folder + name)
        return [one["Key"][len(self.folder) :] for page in pages for one in page.get("Contents", [])]


def submit(s3: BaseClient, options: argparse.Namespace) -> Place:
    """Upload what the job needs, the submit file last, and return the folder of its results."""
    stamp = f"{time.strftime('%Y-%m-%dT%H-%M-%S', time.gmtime())}-{uuid.uuid4().hex[:6]}"
    group = Place(s3, options.bucket, f"{options.group}/")
    data, url = group, ""
    if options.results:
        bucket, _, folder = options.results.removeprefix("s3://").rstrip("/").partition("/")
        data, url = Place(s3, bucket, f"{folder}/" if folder else ""), f"s3://{bucket}/"
    datasets = []
    for path in options.datasets:
        key = f"{data.folder}inputs/{stamp}/{path.name}"
        s3.upload_file(str(path), data.bucket, key)  # in parts, when it is large
        datasets.append(url + key)
    config = options.config.read_bytes() if options.config else b"{}"
    suffix = options.config.suffix if options.config else ".json"
    config_key = data.put(f"configs/{stamp}{suffix}", config)
    wanted = {"dataname": datasets, "configname": url + config_key, "timestamp": stamp}
    if options.results:
        wanted["resultpath"] = options.results
    group.put(f"submissions/{stamp}_submit.json", json.dumps(wanted).encode())
    folder = f"job_{stamp}_{options.bucket}_{stamp}/"
    return Place(s3, data.bucket, data.folder + ("" if options.results else "results/") + folder)


def follow(job: Place, patience_s: float) -> str:
    """Show the job's certificate as it grows, until its end marker is there; return what that says."""
    shown, end = [], time.monotonic() + patience_s
    while (marker := job.read("process_results/end.txt")) is None:
        if time.monotonic() > end:
            sys.exit(f"s3://{job.bucket}/{job.folder}process_results/end.txt is not there after {patience_s:.0f} s")
        # While datasets run, a block between two lines of "=" is written anew each time.
        story = [line for line in (job.read("logs/certificate.txt") or "").splitlines() if line not in shown]
        print(*story, sep="\n", end="\n" if story else "")
        shown += story
        time.sleep(PAUSE_S)
    return marker


def download(job: Place, target: Path) -> None:
    """Fetch everything that the analysis wrote."""
    for name in job.list("process_results/"):
        path = target / name[len("process_results/") :]
        if not path.resolve().is_relative_to(target.resolve()):
            sys.exit(f"{name} would leave {target}")
        path.parent.mkdir(parents=True, exist_ok=True)
        job.s3.download_file(job.bucket, job.folder + name, str(path))
        print(path)


def main() -> int:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bucket", help="the analysis's bucket")
    parser.add_argument("group", help="your group")
    parser.add_argument("datasets", nargs="+", type=Path, metavar="dataset", help="a file; one machine each")
    parser.add_argument("--config", type=Path, help="parameters, YAML or JSON")
    parser.add_argument("--results", help="a folder in a bucket of your own: s3://BUCKET/FOLDER")
    parser.add_argument("--to", type=Path, default=Path("results"), help="where results are downloaded to")
    parser.add_argument("--patience", type=float, default=24 * 60, help="minutes to wait")
    options = parser.parse_args()
    job = submit(boto3.client("s3"), options)
    print(f"submitted; everything will be in s3://{job.bucket}/{job.folder}")
    marker = follow(job, options.patience * 60)
    print(marker, end="")
    for name in sorted(job.list("logs/DATASET_NAME:")):
        status = json.loads(job.read(name))
        print(name[len("logs/DATASET_NAME:") : -len("_STATUS.txt")], status["status"], status["reason"], sep=" | ")
    download(job, options.to)
    return 0 if marker.startswith("end of analysis: done") else 1


if __name__ == "__main__":
    sys.exit(main())
