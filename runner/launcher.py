"""Be Terraform: `python launcher.py LIBRARY ARGUMENT …` does what `terraform ARGUMENT …` does.

The library is Terraform compiled as one; it takes signals, standard streams and exit statuses as the program does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

STDOUT, STDERR = 1, 2


def launch(library: str, arguments: list[str]) -> int:
    """Run Terraform in this process and return its exit status.

    SIGINT is left to Terraform, which saves its state and lets go of its lock; Python's own answer to it would only
    come once Terraform has returned.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    terraform = ctypes.cdll.LoadLibrary(library)
    terraform.RunCli.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
    terraform.RunCli.restype = ctypes.c_int
    texts = (ctypes.c_char_p * len(arguments))(*map(os.fsencode, arguments))
    return int(terraform.RunCli(len(arguments), texts, STDOUT, STDERR))


if __name__ == "__main__":
    # Not sys.exit: the library's threads do not care for Python's end.
    os._exit(launch(sys.argv[1], sys.argv[2:]))
