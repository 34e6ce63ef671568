"""The `mayfly` command: its options, its commands, and what happens when something goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from mayfly.cli.blueprint import iae
from mayfly.cli.budget import budget
from mayfly.cli.certificate import certificate
from mayfly.cli.check import check
from mayfly.cli.context import Context
from mayfly.cli.demo import demo
from mayfly.cli.doctor import doctor
from mayfly.cli.extend import extend
from mayfly.cli.history import blueprint
from mayfly.cli.importing import import_
from mayfly.cli.jobs import cancel, jobs, logs, results
from mayfly.cli.metrics import metrics
from mayfly.cli.mishaps import explain, told
from mayfly.cli.output import console, note
from mayfly.cli.platform import compile_roots
from mayfly.cli.reap import abandon, reap
from mayfly.cli.retry import retry
from mayfly.cli.review import apply, destroy, drift, plan
from mayfly.cli.submit import submit
from mayfly.cli.up import up, watch, worker
from state.errors import MayflyError

EPILOG = """
\b
Exit codes: 0 done · 1 something failed · 2 wrong use · 3 a YAML file is wrong · 4 a submission is refused ·
5 Terraform failed · 6 the cloud refused or does not answer · 7 a job failed · 8 the ledger or a workspace is
missing or locked · 9 this machine lacks something (see `mayfly doctor`) · 130 stopped with Ctrl-C.

\b
Completion for your shell (bash, zsh, fish):  eval "$(_MAYFLY_COMPLETE=bash_source mayfly)"
"""


class Commands(click.Group):
    """All commands. What disk and database refuse is told in a sentence here, where their places are known."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401  (click's own signature)
        """Carry out a command.

        Raises:
            MayflyError: among others, the disk is full, or the ledger's database cannot be used.
        """
        with told(lambda: ctx.obj or Context()):
            return super().invoke(ctx)


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EPILOG
)
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MAYFLY_PROJECT",
    help="Folder that holds mayfly.yaml; found upward from here when not given.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="MAYFLY_HOME",
    help="Runtime folder (embedded cloud, ledger, logs); PROJECT/.mayfly/main when not given.",
)
@click.option("-v", "--verbose", is_flag=True, help="Tell more, and show where an error came from.")
@click.version_option(version("mayfly"), message="mayfly %(version)s")
@click.pass_context
def cli(context: click.Context, project: Path | None, home: Path | None, verbose: bool) -> None:
    """Run scientific analyses as code: every job gets infrastructure of its own, and leaves nothing behind.

    \b
    First time:  make demo
    Every day:   mayfly up            (the platform, on this machine)
                 mayfly submit pca data.npy --group lab1
                 mayfly logs -f JOB
    """  # noqa: D301 (click's mark against re-wrapping)
    context.obj = Context(project_option=project, home_option=home, verbose=verbose)


for command in (
    abandon,
    apply,
    blueprint,
    budget,
    cancel,
    certificate,
    check,
    compile_roots,
    demo,
    destroy,
    doctor,
    drift,
    extend,
    iae,
    import_,
    jobs,
    logs,
    metrics,
    plan,
    reap,
    results,
    retry,
    submit,
    up,
    watch,
    worker,
):
    cli.add_command(command)


def carry_out(arguments: Sequence[str]) -> int:
    """Carry out a command line. Return its exit code; every error is a sentence on standard error.

    Raises:
        KeyboardInterrupt: it was stopped with Ctrl-C.
    """
    try:
        code = cli.main(args=list(arguments), prog_name="mayfly", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.Abort:  # what click makes of Ctrl-C
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (MayflyError, OSError) as error:
        known = explain(error) if isinstance(error, OSError) else error
        if known is None:
            raise
        code = complain(known, arguments)
    return code if isinstance(code, int) else 0


def complain(error: MayflyError, arguments: Sequence[str]) -> int:
    """Print an error as a person should see it, with its origin for those who asked for more."""
    note(str(error), style="red")
    if {"-v", "--verbose"} & set(arguments):
        console(sys.stderr).print_exception()
    return error.exit_code
