"""The two long-running processes, put together: the watcher and the worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread

from compiler.load import load_platform
from compiler.model import Platform
from compiler.module import read_module
from runner.agent_build import AgentArchive, build_agent
from runner.capacity import RUN_BURST, RUN_RATE
from runner.certify import Certifier
from runner.cloud import AwsCloud
from runner.cloud_values import Cloud, CloudSettings
from runner.desk import Desk
from runner.engine import Engine, Life
from runner.gatekeeper import Gatehouse, keep_gate
from runner.herald import Herald, keep_telling
from runner.image import recipe_digest
from runner.live_platform import LivePlatform
from runner.lookups import Lookups
from runner.nets import clear, reconcile
from runner.notify import PostOffice, keep_notifying, make_sender
from runner.provider_lock import binding_lock
from runner.provisioner import Provisioner
from runner.reaper import reap
from runner.shop import AgentFile, Shop
from runner.signing import open_signer
from runner.slots import Slots
from runner.stopping import Stopping, pause
from runner.terraform import Terraform
from runner.toolchain import find_toolchain
from runner.watcher import Post, Watcher
from runner.worker import Worker
from state.backend import Backend
from state.dispatch import Gate
from state.inbox import Inbox
from state.ledger import Ledger, open_ledger
from state.notices import Notices
from state.pace import Pace

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the two processes reach the world through: other than this only in tests that kill them a thousand times.

    Attributes:
        cloud: opens the cloud.
        terraform: opens Terraform; None for the one that is installed.
        life: makes what the engine's steps do.
        agent: builds what instances run, in a folder of its own.
        lease: after this long without a sign of life a worker counts as dead.
        reap_every: pause between two rounds of the reaper.
        reap_pause_s: between the two looks of a round, seconds.
    """

    cloud: Callable[[CloudSettings], Cloud] = AwsCloud
    terraform: Callable[[], Provisioner] | None = None
    life: Callable[[Shop], Life] = Worker
    agent: Callable[[Path], AgentArchive] = build_agent
    lease: timedelta = timedelta(seconds=5)
    reap_every: timedelta = timedelta(minutes=5)
    reap_pause_s: float = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where the two processes find what they work with.

    Attributes:
        project: folder with mayfly.yaml.
        database: URL of the ledger.
        settings: how the cloud is reached.
        backend: where Terraform keeps its states.
        jobs: folder of the workspaces.
        terraform: folder of Terraform's configuration and prepared provider.
        agents: folder that built agents are kept in.
        environment: this process's variables, for finding Terraform.
        world: through what they reach the world.
    """

    project: Path
    database: str
    settings: CloudSettings
    backend: Backend
    jobs: Path
    terraform: Path
    agents: Path
    environment: dict[str, str]
    world: World = field(default_factory=World)

    @property
    def keys(self) -> Path:
        """The folder of the key that certificates are signed with: the home's own."""
        return self.jobs.parent / "keys"


def now() -> datetime:
    """Return the time, UTC: the one clock of the processes."""
    return datetime.now(UTC)


def digest_of(platform: Platform, analysis: str) -> str:
    """Return the digest of an analysis's environment as its recipe stands now."""
    blueprint = platform.blueprints[analysis]
    return recipe_digest(platform.project / "blueprints" / analysis / blueprint.environment.recipe)


def run_watcher(site: Site, stop: Event) -> None:
    """Watch for submissions until `stop` is set."""
    ledger, cloud = open_ledger(site.database), site.world.cloud(site.settings)
    engine = Engine(ledger.engine)
    engine.migrate()
    inbox, platform = Inbox(ledger.engine), LivePlatform(site.project, load_platform)
    certifier = Certifier(
        ledger=ledger, cloud=cloud, clock=now, deployment=platform().deployment.name, signer=open_signer(site.keys)
    )
    lookups = Lookups(cloud, digest_of, clock=now)
    desk = Desk(ledger=ledger, inbox=inbox, cloud=cloud, certifier=certifier, lookups=lookups, clock=now)
    wake, gate = Event(), Gate(ledger.engine, engine.enqueue)
    house = Gatehouse(gate=gate, ledger=ledger, platform=platform, clock=now, wake=wake)
    office = PostOffice(
        notices=Notices(ledger.engine), platform=platform, send=make_sender(site.environment), clock=now
    )
    keeper = Thread(target=keep_gate, args=(house, stop), name="gate", daemon=True)
    keeper.start()
    herald = Herald(ledger=ledger, certifier=certifier, limits=lambda: platform().deployment.limits, clock=now)
    Thread(target=keep_telling, args=(herald, stop), name="herald", daemon=True).start()
    # Not waited for at the end: a mail server that is slow delays nobody, and what it was not given stays due.
    Thread(target=keep_notifying, args=(office, stop), name="notices", daemon=True).start()
    # A loopback queue costs nothing to ask, and a short question lets Ctrl-C through at once.
    poll_s = 1 if site.settings.is_loopback else 10
    post = Post(inbox=inbox, cloud=cloud, platform=platform, desk=desk, clock=now, poll_s=poll_s, on_decided=wake.set)
    Watcher(post).run(stop)
    keeper.join()
    engine.stop()


def run_worker(site: Site, stop: Event) -> None:
    """Carry jobs through their lives until `stop` is set; those under way are resumed by the next worker."""
    ledger, cloud = open_ledger(site.database), site.world.cloud(site.settings)
    platform = load_platform(site.project)
    terraform = site.world.terraform() if site.world.terraform else open_terraform(site, platform)
    agent = site.world.agent(site.agents)
    deployment = platform.deployment
    certifier = Certifier(
        ledger=ledger, cloud=cloud, clock=now, deployment=deployment.name, signer=open_signer(site.keys)
    )
    # An emulator counts no calls. On AWS all workers of an account share what it may start.
    account = f"run-instances/{deployment.account}/{deployment.region}"
    pace = None if site.settings.endpoint else Pace(engine=ledger.engine, name=account, rate=RUN_RATE, burst=RUN_BURST)
    life = site.world.life(
        Shop(
            ledger=ledger,
            cloud=cloud,
            terraform=terraform,
            certifier=certifier,
            deployment=deployment,
            backend=site.backend,
            module=read_module(site.project, "job"),
            agent=AgentFile(path=agent.path, sha256=agent.sha256),
            jobs=site.jobs,
            clock=now,
            wait=partial(pause, stop),
            stopping=stop.is_set,
            pace=pace,
        )
    )
    engine = Engine(ledger.engine, lease=site.world.lease)
    engine.start(life, per_group=deployment.limits.jobs_per_group, at_once=deployment.limits.jobs)
    reaper = Thread(target=keep_reaping, args=(cloud, ledger, platform, site, stop), name="reaper", daemon=True)
    reaper.start()
    log.info("worker %s is ready", engine.name)
    stop.wait()
    engine.stop()


def open_terraform(site: Site, platform: Platform) -> Terraform:
    """Return the Terraform that is installed, reaching the cloud of `site`."""
    toolchain = find_toolchain(site.terraform, site.environment, lock=binding_lock(platform))
    # On AWS, credentials come from wherever this process has them; an emulator's are in its settings.
    found = {} if site.settings.endpoint else site.environment
    variables = {**found, **site.settings.environment()}
    return Terraform(toolchain, variables, Slots(site.terraform / "slots"))


def keep_reaping(cloud: Cloud, ledger: Ledger, platform: Platform, site: Site, stop: Event) -> None:
    """Hold ledger and cloud against each other once, and remove what was forgotten, again and again."""
    name = platform.deployment.name

    def bucket_of(analysis: str) -> str | None:
        return platform.bucket(analysis) if analysis in platform.blueprints else None

    try:
        reconcile(cloud, ledger, deployment=name, clock=now)
    except Exception:  # a database that is away for a moment must not keep the nets from being cast
        log.exception("the cloud could not be compared with the ledger")
    while not stop.is_set():
        try:
            for removed in clear(cloud, site.backend, ledger, site.jobs, now()):
                log.warning("removed %s: its job is over", removed)
            reap(
                cloud,
                ledger,
                deployment=name,
                clock=now,
                wait=partial(pause, stop),
                pause_s=site.world.reap_pause_s,
                bucket_of=bucket_of,
            )
        except Stopping:
            return
        except Exception:  # and must not end them; that no round succeeds is told by the figures
            log.exception("reaping failed")
        stop.wait(site.world.reap_every.total_seconds())
