"""The bucket layout: the only place that composes or takes apart object keys.

One bucket per analysis, one prefix per group, as NeuroCAAS laid it out, so that its users' scripts keep working.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from posixpath import basename

SUBMIT, CANCEL = "submit.json", "cancel.json"
ID = re.compile(r"^[a-z][a-z0-9-]{1,30}[a-z0-9]$")
"""Ids of deployments, groups and analyses: they become bucket names, role names and prefixes as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitKey:
    """What the key of a submit file says.

    Attributes:
        group: the first segment of the key.
        name: what stands before `submit.json` without its trailing `_`; often empty.
    """

    group: str
    name: str


def parse_submit_key(key: str) -> SubmitKey | None:
    """Take apart `{group}/submissions/{…}submit.json`; None for any other key."""
    group, folder, rest = [*key.split("/", 2), "", ""][:3]
    if not group or folder != "submissions" or not rest.endswith(SUBMIT):
        return None
    return SubmitKey(group=group, name=basename(rest)[: -len(SUBMIT)].rstrip("_"))


def parse_cancel_key(key: str) -> str | None:
    """Return the group of `{group}/submissions/{…}cancel.json`; None for any other key."""
    group, folder, rest = [*key.split("/", 2), "", ""][:3]
    return group if group and folder == "submissions" and rest.endswith(CANCEL) else None


def prefix(group: str, folder: str) -> str:
    """Return `{group}/{folder}/` for inputs, configs, submissions or results."""
    return f"{group}/{folder}/"


def job_folder(name: str, bucket: str, timestamp: str) -> str:
    """Return the name of a job's result folder."""
    return f"job_{name}_{bucket}_{timestamp}"


def job_id(*, analysis: str, bucket: str, key: str, version: str) -> str:
    """Return a job's id: short, safe in every name, and the same however often its event arrives.

    The identity of a submission is bucket, key and version (or ETag); 48 bits of its SHA-256 keep two of a
    million jobs apart with a chance of 1 in 500, and the ledger refuses the second.
    """
    digest = hashlib.sha256(f"{bucket}\0{key}\0{version}".encode()).hexdigest()
    return f"{analysis}-{digest[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultKeys:
    """The keys of one job's results.

    Attributes:
        bucket: where results go: the analysis's bucket, or the user's own with storage bypass.
        root: the job's folder, ends with `/`.
    """

    bucket: str
    root: str

    @property
    def certificate(self) -> str:
        """The job's own story, updated live."""
        return f"{self.root}logs/certificate.txt"

    @property
    def certificate_json(self) -> str:
        """The same for programs."""
        return f"{self.root}logs/certificate.json"

    @property
    def results(self) -> str:
        """The folder that the analysis's files go to; ends with `/`."""
        return f"{self.root}process_results/"

    @property
    def end(self) -> str:
        """The end-of-analysis marker that clients poll; written on every ending."""
        return f"{self.results}end.txt"

    @property
    def logs(self) -> str:
        """The folder of all logs; ends with `/`."""
        return f"{self.root}logs/"

    @property
    def workspace(self) -> str:
        """The folder of the evidence: the generated Terraform code; ends with `/`."""
        return f"{self.root}logs/workspace/"

    def status(self, dataset: str) -> str:
        """The live status of one dataset, JSON, refreshed every few seconds by its instance."""
        return f"{self.root}logs/DATASET_NAME:{dataset}_STATUS.txt"

    def console(self, task: int) -> str:
        """What a task's instance printed to its console, kept when its agent did not report."""
        return f"{self.root}logs/task-{task}.console.txt"

    def live(self, task: int, chunk: int) -> str:
        """One chunk of a task's log while it runs; chunks count from 1."""
        return f"{self.live_folder(task)}{chunk:08d}.log"

    def live_folder(self, task: int) -> str:
        """The folder of a task's log chunks; ends with `/`."""
        return f"{self.root}logs/live/{task}/"

    def log(self, task: int) -> str:
        """A task's whole log, written when it ends."""
        return f"{self.root}logs/task-{task}.log"

    @property
    def platform(self) -> str:
        """The platform's own sign of life for the instances, JSON; it also tells them to stop."""
        return f"{self.root}logs/platform.json"

    def checkpoint(self, task: int) -> str:
        """The folder in which a task that was interrupted left what it goes on with; ends with `/`."""
        return f"{self.root}logs/checkpoint/{task}/"

    def report(self, task: int) -> str:
        """What the agent says at the end of a task, JSON: ending, times, result files with checksums."""
        return f"{self.root}logs/task-{task}.json"


def results_of(*, bucket: str, group: str, name: str, timestamp: str) -> ResultKeys:
    """Return the result keys of a job in its analysis's own bucket."""
    return ResultKeys(bucket=bucket, root=f"{prefix(group, 'results')}{job_folder(name, bucket, timestamp)}/")


def split_url(url: str) -> tuple[str, str] | None:
    """Split `s3://bucket/key`; None when it is something else."""
    if not url.startswith("s3://"):
        return None
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return (bucket, key) if bucket else None


def is_status(key: str) -> bool:
    """Return whether a key is that of a dataset's live status file."""
    return basename(key).startswith("DATASET_NAME:") and key.endswith("_STATUS.txt")


def agent_key(sha256: str) -> str:
    """Return the key of an agent in the platform's bucket: its content names it, so it is never overwritten."""
    return f"agent/{sha256}.pyz"


def signing_key(fingerprint: str) -> str:
    """Return the key of a public signing key in the platform's bucket: its fingerprint names it."""
    return f"keys/{fingerprint}.pem"
