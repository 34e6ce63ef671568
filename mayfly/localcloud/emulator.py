"""Everything but EC2: the emulator configured, its administrator made, its sessions kept.

Importing this module reads the emulator's configuration from the environment: call `configure` first, and import it
after that. The credentials set there are the emulator's own root keys: random, new at every start, and refused at
the gate, so that only code in this process can use them.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import ministack.app as server
from ministack.core.responses import set_request_account_id
from ministack.services import iam, sts

from mayfly.localcloud.configuration import OFFER
from mayfly.localcloud.home import Home, read_json, write_json
from state.errors import StateError

ADMINISTRATOR = "mayfly-administrator"
application = server.app
ROOT_KEY = os.environ["AWS_ACCESS_KEY_ID"]
_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_MODULES = {name: importlib.import_module(f"ministack.services.{name}") for name in OFFER.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Credentials of a principal of the emulator; the last two are None for a long-lived key."""

    access_key: str
    secret_key: str
    session_token: str | None = None
    expires: datetime | None = None


class CallError(Exception):
    """A call to the emulator inside this process was refused; the text is its answer."""


def mend() -> None:
    """Keep short-lived credentials over a restart, and never run scripts that lie about on this machine."""

    def sessions() -> dict[str, Any]:
        return {"sessions": dict(sts._sessions)}

    def restore(found: dict[str, Any]) -> None:
        sts._sessions.update(found.get("sessions") or {})

    def no_scripts(*folders: str) -> list[str]:
        del folders
        return []

    sts.get_state, sts.load_persisted_state = sessions, restore
    server._collect_scripts = no_scripts
    server._loaded_modules.update(_MODULES)


@asynccontextmanager
async def running() -> AsyncIterator[None]:
    """Let the emulator read its state and start; at the end, let it stop."""
    events: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    done: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    task = asyncio.create_task(server.app({"type": "lifespan"}, events.get, done.put))
    for phase in ("startup", "shutdown"):
        await events.put({"type": f"lifespan.{phase}"})
        answer = await done.get()
        if not answer["type"].endswith(".complete"):
            raise StateError(f"The emulator failed at its {phase}: {answer}. The embedded cloud's log says why.")
        if phase == "startup":
            yield
    await task


def states() -> dict[str, Callable[[], Mapping[str, Any] | None]]:
    """Return how to ask each service for its state, by state file."""
    return {name: module.get_state for name, module in _MODULES.items()}


async def administrator(home: Home, account: str) -> Key:
    """Return the administrator's key; make the IAM user at the first start.

    Raises:
        StateError: the key is gone but the user exists, or the other way round.
    """
    found = read_json(home.keys_file)
    set_request_account_id(account)
    if found and iam._access_keys.get(found.get("access_key", "")):
        return Key(access_key=found["access_key"], secret_key=found["secret_key"])
    if not iam._users.get(ADMINISTRATOR):
        await call("iam", account, Action="CreateUser", UserName=ADMINISTRATOR, Path="/mayfly/")
        policy = json.dumps(_EVERYTHING)
        await call(
            "iam",
            account,
            Action="PutUserPolicy",
            UserName=ADMINISTRATOR,
            PolicyName="everything",
            PolicyDocument=policy,
        )
    answer = await call("iam", account, Action="CreateAccessKey", UserName=ADMINISTRATOR)
    key = Key(access_key=_field(answer, "AccessKeyId"), secret_key=_field(answer, "SecretAccessKey"))
    write_json(home.keys_file, {"access_key": key.access_key, "secret_key": key.secret_key})
    return key


async def instance_role_key(*, account: str, profile: str, instance: str, now: datetime) -> tuple[str, Key] | None:
    """Return the name and short-lived credentials of an instance profile's role, through STS as EC2 itself does.

    None when the profile is gone, or its role does not trust EC2.
    """
    set_request_account_id(account)
    roles = (iam._instance_profiles.get(profile) or {}).get("Roles") or []
    if not roles:
        return None
    name = roles[0]["RoleName"] if isinstance(roles[0], dict) else roles[0]
    role = iam._roles.get(name)
    if role is None or "ec2.amazonaws.com" not in json.dumps(role.get("AssumeRolePolicyDocument", "")):
        return None
    try:
        answer = await call("sts", account, Action="AssumeRole", RoleArn=role["Arn"], RoleSessionName=instance)
    except CallError:
        return None
    return name, Key(
        access_key=_field(answer, "AccessKeyId"),
        secret_key=_field(answer, "SecretAccessKey"),
        session_token=_field(answer, "SessionToken"),
        expires=now + timedelta(hours=1),
    )


def instance_profile(account: str, *, name: str | None = None, arn: str | None = None) -> dict[str, Any] | None:
    """Return an instance profile by name or ARN, None when IAM has none."""
    for (owner, known), profile in list(iam._instance_profiles._data.items()):
        if owner == account and (known == name or (arn and profile.get("Arn") == arn)):
            found: dict[str, Any] = profile
            return found
    return None


async def call(service: str, account: str, **parameters: str) -> str:
    """Call IAM or STS inside this process, as the emulator's root.

    Raises:
        CallError: it was refused.
    """
    set_request_account_id(account)
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "host": service,
        "authorization": f"AWS4-HMAC-SHA256 Credential={ROOT_KEY}/20000101/us-east-1/{service}/aws4_request",
    }
    version = {"iam": "2010-05-08", "sts": "2011-06-15"}[service]
    body = urlencode({**parameters, "Version": version}).encode()
    status, _, answer = await _MODULES[service].handle_request("POST", "/", headers, body, {})
    text = answer.decode() if isinstance(answer, bytes) else str(answer)
    if status >= 300:  # noqa: PLR2004 - HTTP's own
        raise CallError(text)
    return text


def _field(answer: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", answer)
    if found is None:
        raise StateError(f"The emulator's answer has no {name}. Its pinned release has changed; reinstall Mayfly.")
    return found[1]
