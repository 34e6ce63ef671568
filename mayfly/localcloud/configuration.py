"""What is fixed about an embedded cloud before its emulators are imported: they read their settings at import."""

from __future__ import annotations

import os
import secrets

from mayfly.localcloud.home import LOOPBACK, Home

REGION = "us-east-1"
ACCOUNT = "123456789012"
OFFER = {"s3": "s3", "iam": "iam", "sts": "sts", "sqs": "sqs", "events": "eventbridge"}
"""The services on offer, by the name that signatures carry: the emulator's name of their module and state file."""
_INTERNAL_PORT = "4566"
"""Part of the emulator's own names of queues: constant, so that they do not change with the port of the day."""


def configure(home: Home, *, region: str, account: str) -> None:
    """Set the emulators' settings in this process's environment, and nothing of the person's own AWS settings.

    The root keys are random and die with the process: nobody outside it can be root.
    """
    for name in [n for n in os.environ if n.startswith(("AWS_", "MINISTACK_", "MOTO_", "LOCALSTACK_"))]:
        del os.environ[name]
    os.environ.update(
        # One emulator for everything but EC2: signatures checked, policies enforced, loopback only, state kept.
        AUTH="true",
        SERVICES=",".join(OFFER),
        BIND_HOST=LOOPBACK,
        GATEWAY_PORT=_INTERNAL_PORT,
        MINISTACK_ACCOUNT_ID=account,
        MINISTACK_REGION=region,
        PERSIST_STATE="1",
        STATE_DIR=str(home.state),
        S3_PERSIST="1",
        S3_DATA_DIR=str(home.objects),
        AWS_ACCESS_KEY_ID=f"MAYFLYROOT{secrets.token_hex(8).upper()}",
        AWS_SECRET_ACCESS_KEY=secrets.token_urlsafe(30),
        # No listener and no process beside it.
        SFTP_ENABLED="0",
        IOT_MTLS_ENABLED="0",
        DOCKER_HOST="unix:///nonexistent",
        LOG_LEVEL="WARNING",
        # EC2.
        MOTO_ACCOUNT_ID=account,
        MOTO_EC2_LOAD_DEFAULT_AMIS="false",
        MOTO_IAM_LOAD_MANAGED_POLICIES="false",
    )
