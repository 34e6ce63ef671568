"""Admission: may this submission run, on what, and at what most? Looks things up, changes nothing.

The checks go from cheap to costly, and everything that is wrong with the datasets or with the parameters is said at
once, so that nobody mends one line a day. The budget is not looked at here: the ledger reserves it in the transaction
that keeps the job.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from compiler.blueprint import Blueprint, Stage
from compiler.catalogue import instance
from compiler.job import Agent, render_user_data, task_manifest
from compiler.model import Platform, admits
from compiler.protocols.per_dataset import plan_tasks
from compiler.shape import suggest
from compiler.version import analysis_version
from runner.capacity import policy
from runner.cloud import Cloud
from runner.config_file import CONFIG_BYTES, parse_config
from runner.datasets import find_datasets, refuse
from runner.intake import show
from runner.machines import check_cost, check_count, check_fits, choose_hardware, list_choices, select_ways
from runner.parameters import DATASET_SIZE, DURATION, fill_defaults, find_problems, take_platform_parameters
from runner.pricing import OVERHEAD_S, bound, format_money
from state.errors import AccessError, CloudError, JobError, SubmissionError
from state.job import Job, Offer, Program
from state.keys import job_id
from state.submission import ObjectVersion, Submission
from state.vcpus import Need

AGENT_URL_BYTES = 2400
"""Room for the signed address of the agent: the token of short-lived credentials is the most of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a config asks for, once it is known to be right.

    Attributes:
        parameters: the analysis's own, defaults filled in.
        duration_s: the most a task may run, seconds.
        extra_gb: what the user adds to the root volume, GB.
    """

    parameters: dict[str, Any]
    duration_s: int
    extra_gb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A submission that may run, if the budget allows.

    Attributes:
        job: frozen; everything that its life needs.
        bound: the most it may cost, USD: every task for the whole allowed time on the dearest machine it may get, and
            the time that machines may take to come and to go.
        vcpus: the most virtual CPUs it takes.
        needs: what a machine of each of its ways takes of the vCPU quotas.
        notes: what the user should know, sentences for the certificate.
    """

    job: Job
    bound: Decimal
    vcpus: int
    needs: tuple[Need, ...]
    notes: tuple[str, ...] = ()


def admit(
    submission: Submission,
    *,
    platform: Platform,
    cloud: Cloud,
    digest: Callable[[str], str],
    now: datetime,
    version: Callable[[Platform, str], str] = analysis_version,
    find_image: Callable[[str], str | None] | None = None,
) -> Admission:
    """Turn a submission into a job, or say why not.

    Args:
        submission: what the user asked for.
        platform: what the YAML files say.
        cloud: for looking at datasets, config and image.
        digest: returns the digest of an analysis's immutable environment.
        now: UTC; when the submission counts as made if S3 no longer tells.
        version: returns the version of an analysis.
        find_image: returns the image of an environment's digest; the cloud's own answer when it is not given.

    Raises:
        SubmissionError: it may not run; the reason is for the user. `AccessError` when it is a matter of rights.
        CloudError: the cloud did not answer as it should; try again.
    """
    blueprint = find_blueprint(platform, submission.source.bucket, submission.group)
    if submission.bypass:
        check_outside(platform, submission)
    check_count(blueprint, len(submission.datasets))
    allowed = list_choices(blueprint, submission.instance_type)
    config = _read_config(cloud, submission)
    request = read_request(config, blueprint)
    found = find_datasets(cloud, submission.data_bucket, submission.datasets, blueprint.inputs)
    tasks = plan_tasks(submission, found)
    selected = select_ways(
        platform.deployment,
        allowed,
        tasks=len(tasks),
        duration_s=request.duration_s,
        declared=DURATION in config,
    )
    hardware, iae = choose_hardware(
        platform=platform,
        blueprint=blueprint,
        choice=selected.choice,
        extra_gb=request.extra_gb,
        find_image=find_image or cloud.find_image,
        digest=digest,
    )
    # Whichever way the machines are got in the end, and however long they take to come, the reservation covers it.
    ways, dearest = selected.ways, max(way.hourly_price for way in selected.ways)
    most = check_cost(blueprint, dearest, request.duration_s, len(tasks))
    reserved = bound(hourly=dearest, duration_s=request.duration_s, tasks=len(tasks))
    vcpus = len(tasks) * max(need.vcpus for need in selected.needs)
    check_fits(platform, submission.group, machines=len(tasks), vcpus=vcpus, region=hardware.region)
    source = submission.source
    job = Job(
        id=job_id(analysis=blueprint.id, bucket=source.bucket, key=source.key, version=source.version),
        analysis=blueprint.id,
        analysis_version=version(platform, blueprint.id),
        group=submission.group,
        timestamp=submission.timestamp,
        data_bucket=submission.data_bucket,
        config=submission.config,
        parameters=request.parameters,
        results=submission.results,
        program=Program(
            iae=iae,
            command=("venv/bin/python", f"files/{blueprint.environment.entry_point}"),
            result_limit_bytes=blueprint.limits.result_bytes,
            log_limit_bytes=blueprint.limits.log_bytes,
        ),
        hardware=hardware,
        tasks=tasks,
        duration_s=request.duration_s,
        submitted=_submitted(cloud, source, now),
        offers=ways,
        policy=policy(blueprint.on_failure, blueprint.keep_failed_s, blueprint.interruption),
    )
    check_user_data(job, now)
    notes = (*_notes(ways, most, reserved, request.duration_s, len(tasks)), *selected.notes)
    return Admission(job=job, bound=reserved, vcpus=vcpus, needs=selected.needs, notes=notes)


def find_blueprint(platform: Platform, bucket: str, group: str) -> Blueprint:
    """Return the analysis of a bucket, if a group may run it.

    Raises:
        AccessError: the group is unknown, has not opted in, or is not admitted.
        SubmissionError: the bucket belongs to no analysis, or the analysis is a draft.
    """
    blueprint = platform.analysis_of(bucket)
    if blueprint is None:
        raise SubmissionError(f"The bucket {bucket} belongs to no analysis of this platform.")
    profile = platform.groups.get(group)
    if profile is None:
        near = suggest(group, platform.groups, say_all=False)
        raise AccessError(f"This platform has no group {show(group)}. {near}".rstrip())
    if blueprint.stage is Stage.DRAFT:
        raise SubmissionError(f"The analysis {blueprint.id} is a draft and cannot run yet: its stage must be raised.")
    if not platform.may_use(group, blueprint.id):
        if blueprint.stage is Stage.PUBLIC or admits(blueprint, profile):
            way_out = f"Its owner must add {blueprint.id} to the group's analyses"
        else:
            way_out = "The analysis is private: its developer must name the group in its access"
        raise AccessError(f"The group {group} may not use the analysis {blueprint.id}. {way_out}.")
    return blueprint


def check_outside(platform: Platform, submission: Submission) -> None:
    """Refuse a storage of the user's own that the platform was not told of: its machines could not reach it.

    Raises:
        AccessError: the group's profile does not list the bucket.
    """
    profile = platform.groups[submission.group]
    if submission.data_bucket not in profile.storage.outside_buckets:
        listed = ", ".join(profile.storage.outside_buckets) or "none"
        raise AccessError(
            f"resultpath is in the bucket {submission.data_bucket}, which is not registered for {submission.group} "
            f"(registered: {listed}). Have it added to storage.outside_buckets of the group's profile, or upload the "
            f"data to {submission.group}/inputs/ in the bucket {submission.source.bucket} and leave resultpath out."
        )


def read_request(config: dict[str, Any], blueprint: Blueprint) -> Request:
    """Check a config against its blueprint and fill in the defaults.

    Raises:
        SubmissionError: with everything that is wrong.
    """
    own, problems = take_platform_parameters(config, max_minutes=blueprint.limits.max_duration_s // 60)
    parameters = fill_defaults(own, blueprint.parameters)
    refuse([*problems, *find_problems(parameters, blueprint.parameters)])
    minutes = config.get(DURATION)
    duration_s = blueprint.limits.duration_s if minutes is None else minutes * 60
    return Request(parameters=parameters, duration_s=duration_s, extra_gb=config.get(DATASET_SIZE, 0))


def check_user_data(job: Job, now: datetime) -> None:
    """Refuse a job whose machines could not be told what to do: EC2 takes only so much to start an instance with.

    Raises:
        SubmissionError: its parameters are too large.
    """
    longest = max(job.tasks, key=lambda task: len(json.dumps(task.dataset)) + 2 * len(json.dumps(task.name)))
    agent = Agent(url="x" * AGENT_URL_BYTES, sha256="0" * 64)
    try:
        render_user_data(task_manifest(job, longest, now), agent=agent, deadline=now)
    except JobError as error:
        raise SubmissionError(str(error)) from None


def _read_config(cloud: Cloud, submission: Submission) -> dict[str, Any]:
    try:
        body = cloud.read(submission.data_bucket, submission.config, limit=CONFIG_BYTES + 1)
    except CloudError as error:
        if error.code != "NoSuchKey":
            raise
        raise SubmissionError(
            f"The config file {show(submission.config)} does not exist. Upload it before the submit file."
        ) from None
    return parse_config(body, submission.config)


def _submitted(cloud: Cloud, source: ObjectVersion, now: datetime) -> datetime:
    """Return when a submit file was uploaded, as long as it is still the one that is there."""
    found = cloud.head(source.bucket, source.key)
    same = found is not None and source.version in {found.version, found.etag}
    return min(found.modified, now) if found is not None and same else now


def _notes(ways: tuple[Offer, ...], most: Decimal, reserved: Decimal, duration_s: int, tasks: int) -> tuple[str, ...]:
    first, *others = dict.fromkeys(way.instance_type for way in ways)
    machines = f"{tasks} {first}" if tasks > 1 else first
    instead = f" (or {', '.join(others)}, when AWS has none)" if others else ""
    what = f"Runs on {machines}{instead} for at most {duration_s // 60} minutes and at most {format_money(most)}"
    why = f"because machines may take {OVERHEAD_S // 60} minutes to come and go"
    notes = [f"{what}; {format_money(reserved)} are reserved, {why}."]
    successor = instance(first).successor
    if successor:
        notes.append(f"AWS is retiring {first}; {successor} succeeds it.")
    return tuple(notes)
