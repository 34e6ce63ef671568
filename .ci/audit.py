"""Have strangers look at what is generated: parliament at every policy, checkov at every root and every module.

Both live in a virtual environment of their own, `.venv/audit/`, from locks/audit.txt: checkov brings a package that
takes the place of another one's. Where they cannot be installed this says so and passes, for nothing was found; in CI
it fails, because green must mean there that they looked.
What they complain about and what we do on purpose is listed below, each with its reason; anything else fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "locks")]

from install import UV, last_words, pip_options, uv_environment  # noqa: E402 - beside this one, not installed

from compiler.load import load_platform  # noqa: E402
from compiler.platform import render_platform  # noqa: E402
from compiler.tree import write_tree  # noqa: E402
from tests.compiler.projects import aws_project, large_project  # noqa: E402

LOCK = PROJECT / "locks" / "audit.txt"
VENV = PROJECT / ".venv" / "audit"
WORK = PROJECT / ".mayfly" / "audit"
EXAMPLES = "modules"

SKIPPED = {
    "CKV_AWS_18": "Who logs access to buckets, and where to, is the account's decision (CloudTrail, say).",
    "CKV_AWS_40": "The IAM user exists only for a group that brings a PGP key; checkov does not see its count.",
    "CKV_AWS_126": "A machine lives for minutes and its agent reports every two seconds; detailed monitoring is paid.",
    "CKV_AWS_135": "Types of today are EBS-optimised by themselves; asking for it makes some of them fail.",
    "CKV_AWS_144": "Replication to another region doubles the price of data that the lab still has.",
    "CKV_AWS_145": "Encrypted with S3's own keys: a KMS key is paid by request and needs grants for every role.",
    "CKV_AWS_273": "As CKV_AWS_40: short-lived credentials are the default.",
    "CKV_AWS_382": "A task fetches data from anywhere; who wants less gives it a subnet that leads less far.",
    "CKV2_AWS_62": "Uploads to an analysis are events; the platform's own bucket has none to tell of.",
}
"""checkov's rules that are not for us, and why. One that nothing breaks any more is told, too."""

ACCEPTED = {
    "RESOURCE_MISMATCH": "What is made must carry our tag, what is used need not, so RunInstances stands in two "
    "statements; parliament wants all kinds of resources in one.",
    "CREDENTIALS_EXPOSURE": "The runner acts for a group with that group's role: sts:AssumeRole of the user roles.",
    "PERMISSIONS_MANAGEMENT_ACTIONS": "iam:PassRole, of the instance roles and to EC2 only.",
    "PRIVILEGE_ESCALATION": "The same: starting machines with a group's instance role is what the runner is for.",
}
"""parliament's findings about the runner's policy that we accept; about any other policy nothing is accepted."""

LOOK = """
import json, sys, warnings
warnings.simplefilter("ignore")
import parliament
found = []
for name, text in json.load(sys.stdin).items():
    for one in parliament.analyze_policy_string(text, include_community_auditors=True).findings:
        found.append([name, one.issue, str(one.detail)])
json.dump(found, sys.stdout)
"""


def main() -> int:
    """Return 0 when nobody complains, or, outside CI, nobody can be asked."""
    why_not = install()
    if why_not:
        return skip(why_not, os.environ)
    shutil.rmtree(WORK, ignore_errors=True)
    complaints = [*parliament(generate()), *checkov()]
    for line in complaints:
        print(line)
    print(f"audit: {'FAILED' if complaints else 'ok'}")
    return 1 if complaints else 0


def skip(why_not: str, environment: Mapping[str, str]) -> int:
    """Say why nobody can be asked. Return 0 on a person's machine, which may have no network, and 1 in CI."""
    print(f"audit: SKIPPED: checkov and parliament cannot be installed here ({why_not})")
    return 1 if environment.get("CI", "").lower() in {"true", "1"} else 0


def install() -> str:
    """Bring the environment to what the lock says. Return why that cannot be done; empty when it is done."""
    stamp, wanted = VENV / ".installed", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    print("audit: installing checkov and parliament …", flush=True)
    environment = {**uv_environment(pip_options(), os.environ), "VIRTUAL_ENV": str(VENV)}
    for command in (
        [UV, "venv", "--quiet", "--clear", "--python", sys.executable, VENV],
        [UV, "pip", "install", "--quiet", "--require-hashes", "-r", LOCK],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return last_words(done.stderr + done.stdout).replace("\n", " ")
    stamp.write_text(wanted)
    return ""


def generate() -> dict[str, str]:
    """Write the roots of two platforms and the examples of the modules; return every policy by where it stands."""
    policies = {}
    for name, make in (("three", aws_project), ("forty", large_project)):
        project = make(WORK / "projects" / name)
        shutil.rmtree(project.folder / "modules")  # the real ones are to be looked at
        files = render_platform(load_platform(project.folder))
        for path, text in files.items():
            if path.endswith(".auto.tfvars.json"):
                policies |= {f"{name}/{where}": policy for where, policy in policies_of(path, json.loads(text))}
        if name == "three":  # on AWS, with everything a root can hold; forty more of the same tell nothing new
            write_tree(WORK / "roots", files)
    shutil.copytree(PROJECT / "modules", WORK / EXAMPLES, ignore=shutil.ignore_patterns(".terraform*", "tests"))
    return policies


def policies_of(path: str, values: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the policies among the values of a root, by root and name."""
    for key, value in values.items():
        if key.endswith("_policies") and isinstance(value, dict):
            yield from ((f"{path}:{key}.{name}", str(text)) for name, text in value.items())
        elif key.endswith("_policy"):
            yield f"{path}:{key}", str(value)


def parliament(policies: dict[str, str]) -> Iterator[str]:
    """Yield what parliament says of policies."""
    done = subprocess.run(
        [VENV / "bin" / "python", "-c", LOOK],
        input=json.dumps(policies),
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    findings = json.loads(done.stdout)
    for where, issue, detail in findings:
        if not (issue in ACCEPTED and where.endswith(":runner_policy")):
            yield f"parliament: {where}: {issue}: {detail}"
    print(f"audit: parliament looked at {len(policies)} policies", flush=True)


def checkov() -> Iterator[str]:
    """Yield what checkov says of the generated roots and of the modules' examples."""
    command: list[Path | str] = [VENV / "bin" / "checkov", "--framework", "terraform", "--skip-download", "--quiet"]
    command += ["--compact", "--output", "json", "--directory", WORK]
    env = {"PATH": os.environ["PATH"], "HOME": str(WORK)}
    done = subprocess.run(command, cwd=WORK, capture_output=True, text=True, check=False, env=env)
    try:
        report = json.loads(done.stdout)
        failed, passed = report["results"]["failed_checks"], report["summary"]["passed"]
    except (ValueError, KeyError, TypeError):
        yield f"checkov: failed itself: {last_words(done.stderr + done.stdout)}"
        return
    broken = {one["check_id"] for one in failed}
    for one in failed:
        if one["check_id"] not in SKIPPED:
            yield f"checkov: {one['file_path']}: {one['resource']}: {one['check_id']}: {one['check_name']}"
    for rule in sorted(SKIPPED.keys() - broken):
        yield f"checkov: nothing breaks {rule} any more: take it off the list"
    if not passed:
        yield "checkov: looked at nothing"
    print(f"audit: checkov passed {passed} checks", flush=True)


if __name__ == "__main__":
    sys.exit(main())
