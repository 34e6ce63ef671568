"""The embedded cloud: AWS's interfaces on loopback, instances as sandboxed processes on this machine.

Two servers in one process stand behind the public settings AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_EC2, so that
Terraform modules and the runner never know which cloud they talk to. `LocalCloud` starts and stops that process.
"""

from mayfly.localcloud.cloud import LocalCloud
from mayfly.localcloud.sandbox import find_sandbox

__all__ = ["LocalCloud", "find_sandbox"]
