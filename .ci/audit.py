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
import tempfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "locks")]

from install import UV, last_words, pip_options, uv_environment  # noqa: E402 - beside this one, not installed

from compiler.load import load_platform  # noqa: E402
from compiler.model import Platform  # noqa: E402
from compiler.platform import live_roots, render_platform  # noqa: E402
from compiler.review.documents import documents, is_unread  # noqa: E402
from compiler.review.values import Change  # noqa: E402
from compiler.tree import write_tree  # noqa: E402
from runner.review.secretless import plan_without_secrets, secretless_terraform  # noqa: E402
from runner.slots import Slots  # noqa: E402
from runner.toolchain import find_toolchain  # noqa: E402
from tests.compiler.projects import aws_project, large_project  # noqa: E402

LOCK = PROJECT / "locks" / "audit.txt"
VENV = PROJECT / ".venv" / "audit"
WORK = PROJECT / ".mayfly" / "audit"
EXAMPLES = "modules"
MOST_ANALYSES = 3
"""Analyses of a platform that are planned: the policies of more differ in names only."""
SIDE_BY_SIDE = 3
"""Terraforms that run at the same time."""

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

RUNNER = "*.aws_iam_role_policy.runner"
TRUST = "*#trust"
ACCEPTED = {
    (
        RUNNER,
        "RESOURCE_MISMATCH",
    ): "What is made must carry our tag, what is used need not, so RunInstances stands in two "
    "statements; parliament wants all kinds of resources in one.",
    (RUNNER, "CREDENTIALS_EXPOSURE"): "The runner acts for a group with that group's role: sts:AssumeRole of the user "
    "roles.",
    (RUNNER, "PERMISSIONS_MANAGEMENT_ACTIONS"): "iam:PassRole, of the instance roles and to EC2 only.",
    (
        RUNNER,
        "PRIVILEGE_ESCALATION",
    ): "The same: starting machines with a group's instance role is what the runner is for.",
    (
        "*.aws_iam_user_policy.member[[]0]",
        "CREDENTIALS_EXPOSURE",
    ): "A group's IAM user becomes the group's role, and may do nothing else.",
    (TRUST, "CREDENTIALS_EXPOSURE"): "Saying who gets a role's credentials is what a trust policy is for.",
}
"""parliament's findings that we accept, by where they stand, and why. One that nothing needs any more is told, too."""

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
    """Write the roots of a platform and the examples of the modules; return every policy by where it stands."""
    policies = {}
    for name, make in (("three", aws_project), ("forty", large_project)):
        project = make(WORK / "projects" / name)
        shutil.rmtree(project.folder / "modules")  # the real ones are to be looked at
        platform = load_platform(project.folder)
        files = render_platform(platform)
        policies |= {f"{name}/{where}": text for where, text in planned_policies(platform, files).items()}
        if name == "three":  # on AWS, with everything a root can hold; forty more of the same tell checkov nothing new
            write_tree(WORK / "roots", files)
    shutil.copytree(PROJECT / "modules", WORK / EXAMPLES, ignore=shutil.ignore_patterns(".terraform*", "tests"))
    return policies


def planned_policies(platform: Platform, files: Mapping[str, str]) -> dict[str, str]:
    """Plan the roots without an account; return every policy that they would make, by root and address.

    The modules write some themselves: of buckets and queues, and whom a role trusts.
    """
    alike = [root for root in live_roots(platform) if root.startswith("analyses/")][MOST_ANALYSES:]
    toolchain = find_toolchain(PROJECT / ".mayfly" / "terraform", os.environ)
    slots = Slots(PROJECT / ".mayfly" / "terraform" / "slots", SIDE_BY_SIDE)
    with tempfile.TemporaryDirectory(prefix="mayfly-audit-") as folder:
        plans = plan_without_secrets(
            secretless_terraform(toolchain, platform.deployment.region, slots),
            [root for root in live_roots(platform) if root not in alike],
            files,
            {},
            work=Path(folder),
            on_result=lambda _: None,
        )
    found = {}
    for plan in plans:
        if plan.error:
            raise SystemExit(f"audit: FAILED: {plan.root} cannot be planned: {plan.error}")
        for change in plan.changes:
            if is_unread(change):
                raise SystemExit(f"audit: FAILED: {plan.root}/{change.address} has a policy that a plan does not know")
            found |= {f"{plan.root}:{where}": text for where, text in written(change)}
    return found


def written(change: Change) -> Iterator[tuple[str, str]]:
    """Yield the policies of a resource by its address, a role's trust apart, and with the resource that it is about."""
    trust = change.after.get("assume_role_policy")
    for text in documents(change.after):
        if text != trust:
            yield change.address, text
            continue
        said = json.loads(text)
        for statement in said["Statement"]:
            statement["Resource"] = f"arn:aws:iam::123456789012:role/{change.after['name']}"
        yield f"{change.address}#trust", json.dumps(said)


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
    needed = set()
    for where, issue, detail in json.loads(done.stdout):
        known = {one for one in ACCEPTED if one[1] == issue and fnmatchcase(where, one[0])}
        needed |= known
        if not known:
            yield f"parliament: {where}: {issue}: {detail}"
    for where, issue in sorted(ACCEPTED.keys() - needed):
        yield f"parliament: nothing at {where} needs {issue} to be accepted any more: take it off the list"
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
