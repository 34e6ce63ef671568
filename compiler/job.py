"""A job's workspace: the Terraform root that makes its machines, with what each machine is to do inside.

User text (dataset names, parameters) goes into JSON only: tfvars, which Terraform reads literally, and the task
manifest, which travels as base64. The shell script that carries it holds nothing but base64 and a number.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Literal

from compiler import names
from compiler.deployment import CloudKind, Deployment
from compiler.hcl import render_template
from compiler.recipe import IMAGE_ROOT
from state.chronicle import Attempt
from state.errors import JobError
from state.job import Job, Task

USER_DATA_LIMIT: Final = 16_384
"""Bytes that EC2 accepts as user data, before base64."""
HEARTBEAT_S: Final = 2
SILENCE_S: Final = 3600
"""How long the platform may be silent before an instance ends itself: long enough to mend or update a platform."""
MANIFEST_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Where an instance gets its agent.

    Attributes:
        url: signed for a while; http or https.
        sha256: what must come from there, hex.
    """

    url: str
    sha256: str


def render_workspace(
    job: Job,
    *,
    deployment: Deployment,
    agent: Agent,
    deadline: datetime,
    module: Mapping[str, str],
    lock: str,
    backend: Literal["local", "s3"],
    attempts: Mapping[int, Attempt] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the files of a job's workspace, text by path.

    Args:
        job: what was admitted.
        deployment: whose account, tags and network.
        agent: what the instances fetch and run.
        deadline: when everything of the job must be gone, UTC.
        module: the files of the module `job`, text by name.
        lock: the provider lock file.
        backend: `s3`, or `local` for a state file beside the workspace, which needs no init.
        attempts: the newest try of each task to get a machine; the first way of the job where there is none.

    Raises:
        JobError: a task's manifest is larger than what EC2 hands to an instance.
    """
    source = f"job {job.id} of {job.group}"
    values = job_values(job, deployment=deployment, agent=agent, deadline=deadline, attempts=attempts)
    return {
        "main.tf": render_template("job.tf.j2", source=source, backend="s3" if backend == "s3" else ""),
        "job.auto.tfvars.json": names.tidy_json(values),
        ".terraform.lock.hcl": lock,
        **{f"module/{name}": text for name, text in sorted(module.items())},
    }


def job_values(
    job: Job,
    *,
    deployment: Deployment,
    agent: Agent,
    deadline: datetime,
    attempts: Mapping[int, Attempt] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the values of the module `job`."""
    return {
        "deployment": deployment.name,
        "region": job.hardware.region,
        "tags": deployment.tags,
        "job": job.id,
        "group": job.group,
        "analysis": job.analysis,
        "version_id": job.analysis_version,
        "deadline": iso(deadline),
        "image": job.hardware.image,
        "instance_type": job.hardware.instance_type,
        "volume_gb": job.hardware.volume_gb,
        "volume_type": job.hardware.volume_type,
        "volume_iops": job.hardware.volume_iops,
        "volume_throughput": job.hardware.volume_throughput,
        "public_ip": needs_public_ip(deployment),
        "instance_profile": names.instance_role(deployment.name, job.group),
        "vpc_id": deployment.network.vpc,
        "subnet_id": choose_subnet(deployment, job.id),
        "tasks": {
            str(task.number): task_values(
                job, task, deployment=deployment, agent=agent, deadline=deadline, attempt=attempts.get(task.number)
            )
            for task in job.tasks
        },
    }


def needs_public_ip(deployment: Deployment) -> bool:
    """Return whether instances get a public address: as the deployment says, else where they need one.

    They need none in subnets of one's own, which lead out through a gateway. Those of AWS's default VPC lead out only
    for machines that have one; nothing gets in all the same.
    """
    network = deployment.network
    wanted = not network.subnets if network.public_ip is None else network.public_ip
    return deployment.cloud is CloudKind.AWS and wanted


def task_values(
    job: Job, task: Task, *, deployment: Deployment, agent: Agent, deadline: datetime, attempt: Attempt | None
) -> dict[str, Any]:
    """Return the values of one task: what its machine does, and where it stands when that is not the job's default."""
    manifest = task_manifest(job, task, deadline, run=attempt.run if attempt else 0)
    values: dict[str, Any] = {
        "name": job.label(task),
        "user_data": base64.b64encode(render_user_data(manifest, agent=agent, deadline=deadline)).decode(),
    }
    if attempt is None:
        return values
    offer = attempt.offer
    if offer.instance_type != job.hardware.instance_type:
        values["instance_type"] = offer.instance_type
    if deployment.network.subnets:
        # A subnet lies in one zone, so a new try goes to the next subnet instead of naming a zone.
        if attempt.number:
            values["subnet_id"] = choose_subnet(deployment, job.id, attempt.number)
    elif offer.zone:
        values["zone"] = offer.zone
    if offer.spot:
        values |= {"spot": True, "max_price": f"{offer.hourly_price:f}"}
    return values


def choose_subnet(deployment: Deployment, job: str, attempt: int = 0) -> str | None:
    """Return the subnet of a job's machine: the same for one job and try, spread evenly over many jobs."""
    subnets = deployment.network.subnets
    if not subnets:
        return None
    return subnets[(int.from_bytes(hashlib.sha256(job.encode()).digest()[:8]) + attempt) % len(subnets)]


def render_user_data(manifest: Mapping[str, Any], *, agent: Agent, deadline: datetime) -> bytes:
    """Return the script that an instance runs when it starts.

    Raises:
        JobError: it would be larger than EC2 accepts.
    """
    values = {
        "@DEADLINE@": str(int(deadline.timestamp())),
        "@SILENCE_S@": str(SILENCE_S),
        "@AGENT_URL@": _base64(agent.url),
        "@AGENT_SHA256@": bytes.fromhex(agent.sha256).hex(),
        "@MANIFEST@": _base64(names.compact_json(manifest)),
    }
    script = files("compiler").joinpath("templates/bootstrap.sh").read_text(encoding="utf-8")
    for mark, value in values.items():
        script = script.replace(mark, value)
    data = script.encode()
    if len(data) > USER_DATA_LIMIT:
        most = (USER_DATA_LIMIT - len(data)) * 3 // 4 + len(names.compact_json(manifest["parameters"]))
        raise JobError(
            f"The parameters of this job are too large: an instance is given at most {USER_DATA_LIMIT} bytes to start "
            f"with, which leaves about {max(0, most)} for them. Put large tables into the dataset."
        )
    return data


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def task_manifest(job: Job, task: Task, deadline: datetime, *, run: int = 0) -> dict[str, Any]:
    """Return what the agent of one task reads: plain JSON, complete, and nothing secret.

    `run` counts how often the task was interrupted before.
    """
    keys = job.results
    return {
        "version": MANIFEST_VERSION,
        "job": job.id,
        "task": task.number,
        "group": job.group,
        "analysis": job.analysis,
        "region": job.hardware.region,
        "input": {"bucket": job.data_bucket, "key": task.dataset, "version": task.version},
        "config": {"bucket": job.data_bucket, "key": job.config},
        "parameters": job.parameters,
        "results": {
            "bucket": keys.bucket,
            "folder": job.results_folder(task),
            "status": job.status_key(task),
            "report": keys.report(task.number),
            "log": keys.log(task.number),
            "live": keys.live_folder(task.number),
        },
        "command": list(job.program.command),
        "image_root": IMAGE_ROOT,
        "iae": job.program.iae,
        "time_limit_s": job.duration_s,
        "deadline": iso(deadline),
        "log_limit_bytes": job.program.log_limit_bytes,
        "result_limit_bytes": job.program.result_limit_bytes,
        "heartbeat_s": HEARTBEAT_S,
        "run": run,
        "checkpoint": keys.checkpoint(task.number),
        "platform": keys.platform,
        "silence_s": SILENCE_S,
        "keep_failed_s": job.policy.keep_failed_s,
    }


def iso(moment: datetime) -> str:
    """Return a time as tags and manifests spell it: UTC, whole seconds, `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
