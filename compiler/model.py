"""The whole platform as one value: everything that the YAML files of a project say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compiler import names
from compiler.blueprint import Blueprint, Stage
from compiler.deployment import Deployment
from compiler.profile import Group


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Retired:
    """A root that was applied and that no file describes any more.

    Attributes:
        root: its name, for example `analyses/pca`.
        purge: whether what it made is destroyed. A group's roles always are; the bucket of an analysis with all data
            only when its blueprint said `purge: true` the last time it was applied.
    """

    root: str
    purge: bool

    @property
    def story(self) -> str:
        """What applying it means, in words."""
        kind, _, name = self.root.partition("/")
        if kind == "groups":
            return f"the profile of the group {name!r} is gone: its roles go, its data stays"
        if self.purge:
            return f"the blueprint of {name!r} is gone and said `purge: true`: its bucket goes, WITH ALL DATA"
        return f"the blueprint of {name!r} is gone: its bucket stays, with all data, and Terraform lets go of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A deployment with its analyses and its groups.

    Attributes:
        project: the folder that holds mayfly.yaml.
        deployment: the deployment.
        blueprints: by id, sorted.
        groups: by id, sorted.
        retired: roots that were applied and that no file describes any more; runner/retired.py finds them.
        agent: folder of the agent's sources, when it is not this release's: an earlier platform had an earlier one.
    """

    project: Path
    deployment: Deployment
    blueprints: dict[str, Blueprint]
    groups: dict[str, Group]
    retired: tuple[Retired, ...] = ()
    agent: Path | None = None

    def birth_id(self, analysis: str) -> str:
        """Return the id under which an analysis was made; its bucket, its root and its state keep it for ever."""
        return self.blueprints[analysis].renamed_from or analysis

    def bucket(self, analysis: str) -> str:
        """Return the bucket of an analysis. A rename does not change it: data does not move."""
        return self.blueprints[analysis].bucket or names.default_bucket(self.deployment.name, self.birth_id(analysis))

    def analysis_of(self, bucket: str) -> Blueprint | None:
        """Return the analysis that owns a bucket; None when the platform does not know it."""
        return next((b for b in self.blueprints.values() if self.bucket(b.id) == bucket), None)

    def may_use(self, group: str, analysis: str) -> bool:
        """Return whether a group has opted in to an analysis that admits it; a draft admits nobody."""
        profile, blueprint = self.groups.get(group), self.blueprints.get(analysis)
        if profile is None or blueprint is None or analysis not in profile.analyses:
            return False
        return blueprint.stage is Stage.PUBLIC or (blueprint.stage is Stage.PRIVATE and admits(blueprint, profile))

    def analyses_of(self, group: str) -> tuple[str, ...]:
        """Return the ids of the analyses that a group may use, sorted."""
        profile = self.groups.get(group)
        return tuple(sorted(a for a in profile.analyses if self.may_use(group, a))) if profile else ()

    def groups_of(self, analysis: str) -> tuple[Group, ...]:
        """Return the groups that may use an analysis, by id."""
        return tuple(g for g in self.groups.values() if analysis in g.analyses and self.may_use(g.id, analysis))

    def born_as(self, birth_id: str) -> Blueprint | None:
        """Return the analysis that was made under an id, whatever it is called now; None when it is gone."""
        own = self.blueprints.get(birth_id)
        if own is not None and self.birth_id(own.id) == birth_id:
            return own
        return next((b for b in self.blueprints.values() if b.renamed_from == birth_id), None)


def admits(blueprint: Blueprint, group: Group) -> bool:
    """Return whether a blueprint names a group, or one of its members."""
    named = {user.casefold() for user in blueprint.access.users}
    return group.id in blueprint.access.groups or any(m.email.casefold() in named for m in group.members)
