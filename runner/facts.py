"""What a certificate states beside a job's story: hashes of everything that went in, and checksums of what came out."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping

from runner.monitor import Signs
from runner.provisioner import ApplySummary
from runner.shop import Shop
from runner.workspace import file_hashes
from state.job import Job

_PROVIDER = re.compile(r'^provider "(?P<name>[^"]+)" \{(?P<body>.*?)^\}', re.MULTILINE | re.DOTALL)
_VERSION = re.compile(r'^\s*version\s*=\s*"([^"]+)"', re.MULTILINE)
_HASH = re.compile(r'"((?:h1|zh):[^"]+)"')


def note_facts(shop: Shop, job: Job) -> None:
    """Keep what a job runs on, once its workspace is written."""
    root = shop.jobs / job.id
    lock = root / ".terraform.lock.hcl"
    note = shop.chronicle.note
    note(job.id, "agent", {"sha256": shop.agent.sha256})
    note(job.id, "module", {"sha256": hash_of(shop.module)})
    note(job.id, "providers", read_lock(lock.read_text(encoding="utf-8")) if lock.exists() else [])
    note(job.id, "workspace", file_hashes(root))


def facts_of(summary: ApplySummary) -> dict[str, object]:
    """Return what a certificate states of an apply: what was planned, by action, and what was done."""
    planned = Counter(one.action for one in summary.planned)
    done = {"add": summary.add, "change": summary.change, "destroy": summary.destroy}
    return {**done, "planned": dict(sorted(planned.items())), "seconds": round(summary.seconds, 1)}


def note_results(shop: Shop, job: Job, all_signs: list[Signs]) -> None:
    """Keep what each task wrote, whether it succeeded or not: partial results were paid for, too."""
    found = {}
    for signs in all_signs:
        report = signs.report or {}
        outputs = report.get("outputs")
        found[str(signs.task.number)] = {
            "folder": job.results_folder(signs.task).removeprefix(job.results.root),
            "files": outputs if isinstance(outputs, list) else [],
            "partial": report.get("ending") != "succeeded",
            "input_sha256": report.get("input_sha256"),
            "peaks": report.get("peaks"),
        }
    shop.chronicle.note(job.id, "results", found)


def hash_of(files: Mapping[str, str]) -> str:
    """Return the SHA-256 over the names and contents of text files, by name."""
    digest = hashlib.sha256()
    for name, text in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(text.encode()).hexdigest()}\n".encode())
    return digest.hexdigest()


def read_lock(text: str) -> list[dict[str, object]]:
    """Return the providers of a lock file: name, version and hashes."""
    found = []
    for one in _PROVIDER.finditer(text):
        version = _VERSION.search(one["body"])
        hashes = sorted(_HASH.findall(one["body"]))
        found.append({"name": one["name"], "version": version[1] if version else "", "hashes": hashes})
    return found
