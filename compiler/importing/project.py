"""All templates of an import together, as files of a project: what one of them says must hold beside the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib.resources import files
from typing import Any

from compiler import names
from compiler.importing.analysis import Analysis, read_analysis
from compiler.importing.findings import Finding, Notes
from compiler.importing.names import ID_LIMIT, clean, origin_line
from compiler.importing.people import TITLE, Affiliate, gather
from compiler.importing.template import Kind, Template, read_template
from compiler.importing.yaml_text import comment, write_yaml

MOST_MEMBERS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """The project that an import goes into.

    Attributes:
        deployment: name of the deployment.
        region: its region; empty when it has no mayfly.yaml yet.
        analyses: bucket by id of its blueprints.
        renamed: id by the earlier id of a blueprint.
        groups: ids of its groups.
        people: group by e-mail address, in lower case.
        refused: ids of blueprints that must not be written.
    """

    deployment: str = "imported"
    region: str = ""
    analyses: Mapping[str, str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()
    people: Mapping[str, str] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Files that are written together or not at all: a blueprint with its recipe, a profile, or mayfly.yaml.

    Attributes:
        name: `blueprints/ID`, `users/GROUP` or `mayfly.yaml`.
        files: text by path below the project.
    """

    name: str
    files: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import makes.

    Attributes:
        units: what is to be written.
        findings: what there is to say, template by template, in the order they were given.
        ids: our id by the original's name, of analyses and of groups.
    """

    units: tuple[Unit, ...]
    findings: tuple[Finding, ...]
    ids: dict[str, dict[str, str]]


def import_templates(raw: Mapping[str, bytes], around: Surroundings) -> Imported:
    """Return what the templates of an import become; `raw` holds their bytes by the name a person gave them.

    Nothing that a template holds makes this fail: what cannot be translated is a finding.
    """
    books = [Notes(file=name) for name in raw]
    read = [read_template(content, notes) for content, notes in zip(raw.values(), books, strict=True)]
    templates = [one for one in read if one is not None]
    region = around.region or _most_common_region(templates)
    roles = max(len(names.instance_role(around.deployment, "")), len(names.user_role(around.deployment, "")))
    affiliates, listed = gather(templates, most=min(ID_LIMIT, names.ROLE_LIMIT - roles))
    analyses = _read_analyses(templates, replace(around, region=region))
    for number, template in enumerate(templates):
        analysis = analyses.get(number)
        for entry in listed[number] if analysis else ():
            affiliate = affiliates[entry.name]
            affiliate.analyses.setdefault(template.find("PipelineName"), entry)
            affiliate.cap = max(affiliate.cap, analysis.cap if analysis else Decimal(0))
    known = {one.name: one for one in analyses.values()}
    units = [
        _blueprint_unit(one, [affiliates[entry.name].id for entry in listed[number]], replace(around, region=region))
        for number, one in analyses.items()
    ]
    people = dict(around.people)
    units += [_profile_unit(affiliate, known, people, around) for affiliate in affiliates.values()]
    if not around.region and units:
        units.append(_deployment_unit(around.deployment, region or "us-east-1"))
    return Imported(
        units=tuple(sorted(units, key=lambda unit: unit.name)),
        findings=tuple(finding for notes in books for finding in notes.findings),
        ids={
            "analyses": {one.name: one.id for one in analyses.values()},
            "groups": {one.name: one.id for one in affiliates.values()},
        },
    )


def _most_common_region(templates: Iterable[Template]) -> str:
    found = [
        region
        for one in templates
        for region in (one.find("Lambda", "LambdaConfig", "REGION"), one.find("REGION"))
        if isinstance(region, str) and region.isascii() and region.replace("-", "").isalnum() and region.count("-") > 1
    ]
    return max(sorted(set(found)), key=found.count, default="")


def _read_analyses(templates: list[Template], around: Surroundings) -> dict[int, Analysis]:
    """Return the analyses by the position of their template; the second of two with one name is reported."""
    room = names.BUCKET_LIMIT - len(names.default_bucket(around.deployment, ""))
    found: dict[int, Analysis] = {}
    ids: dict[str, int] = {}
    buckets = {names.platform_bucket(around.deployment): "the platform itself"}
    buckets |= {bucket: f"the analysis {id_!r} of the project" for id_, bucket in around.analyses.items()}
    for number, template in enumerate(templates):
        if template.kind is not Kind.ANALYSIS:
            continue
        one = read_analysis(template, most=min(ID_LIMIT, room))
        if one is None or one.id in around.refused:
            continue
        notes, file = template.notes, template.notes.file
        if one.id in around.renamed:
            notes.mention("PipelineName", f"is the analysis {around.renamed[one.id]!r} of the project already.")
            continue
        if one.id in ids:
            first = templates[ids[one.id]]
            if first.data == template.data:
                notes.mention("", f"says the same as {first.notes.file}; it was imported once.")
            else:
                message = f"{clean(one.name, 60)!r} is in {first.notes.file} already; this one was not imported."
                notes.refuse("PipelineName", message, "Choose one of the two.")
            continue
        ids[one.id] = number
        default = names.default_bucket(around.deployment, one.id)
        bucket = one.bucket
        if around.analyses.get(one.id) != (bucket or default) and (bucket or default) in buckets:
            owner = buckets[bucket or default]
            notes.warn("PipelineName", f"the bucket belongs to {owner}; the analysis gets a bucket of its own.")
            bucket = ""
        if not bucket and one.bucket == one.name:
            notes.mention("PipelineName", f"the bucket is {default!r} here, not {one.name!r}.")
        elif not bucket:
            notes.warn("PipelineName", f"is not the name of a bucket; the bucket is {default!r}.")
        buckets[bucket or default] = f"the analysis of {file}"
        found[number] = replace(one, bucket=bucket)
    return found


def _blueprint_unit(one: Analysis, groups: list[str], around: Surroundings) -> Unit:
    """Return the files of a blueprint. It is a draft until somebody has built and tried its environment."""
    notes = one.template.notes
    then = "choose a stage" if one.stage == "draft" else f"set `stage: {one.stage}`"
    notes.mention("", f"is imported as the draft {one.id!r}.", f"Once its environment is built and tried, {then}.")
    resources = [dict(choice) for choice in one.fields["resources"]]
    if one.region and one.region != around.region:
        resources = [{**choice, "region": one.region} for choice in resources]
    data: dict[str, Any] = {"id": one.id, "title": clean(one.name, TITLE) or one.id, "stage": "draft"}
    data |= {**one.fields, "resources": resources}
    if groups:
        data["access"] = {"groups": sorted(set(groups))}
    if one.bucket:
        data["bucket"] = one.bucket
    data = {key: value for key, value in data.items() if value not in ({}, None)}
    folder = f"blueprints/{one.id}"
    head = "# yaml-language-server: $schema=../../compiler/schema/blueprint.schema.json\n"
    head += f"# Imported from {json.dumps(notes.file)}.\n{origin_line(one.name)}\n"
    head += f"# A draft: build the environment and try it, then {then}.\n"
    text = head + write_yaml(data) + _kept("What could not be translated:", one.template.left_over())
    return Unit(
        name=folder,
        files={
            f"{folder}/blueprint.yaml": text,
            **{f"{folder}/environment/{name}": _recipe_file(name, content) for name, content in one.recipe.items()},
        },
    )


def _recipe_file(name: str, content: str) -> str:
    if name == "requirements.lock":
        return "# No packages beside what the image holds. Lock some with `uv pip compile --generate-hashes`.\n"
    if name == "command.sh":
        return content
    text = files("compiler").joinpath(f"importing/templates/{'run' if name == 'run.py' else 'after'}.py.txt")
    return text.read_text(encoding="utf-8").replace("@HANDLER@", content).replace("@FILE@", name)


def _profile_unit(
    affiliate: Affiliate, known: Mapping[str, Analysis], people: dict[str, str], around: Surroundings
) -> Unit:
    """Return the profile of a group; `people` is told who belongs to it, for a person belongs to one group only."""
    kept = list(affiliate.kept)
    members: list[dict[str, str]] = []
    for key, person in affiliate.people.items():
        address = person.address
        if people.get(key, affiliate.id) != affiliate.id or len(members) >= MOST_MEMBERS:
            where = people.get(key, affiliate.id)
            message = f"{clean(address, 80)} of {affiliate.id!r} is a member of {where!r} already."
            person.entry.template.notes.warn(person.entry.field, message, "A person belongs to one group: choose.")
            kept.append({"member": address})
            continue
        people[key] = affiliate.id
        row = {"name": clean(person.name, TITLE) or clean(address, TITLE), "email": address}
        owns = key in affiliate.owners or len(affiliate.people) == 1
        members.append({**row, **({"role": "owner"} if owns else {})})
    analyses = []
    for name, entry in affiliate.analyses.items():
        notes, where = entry.template.notes, entry.field
        analysis = known.get(name)
        found = analysis.id if analysis else _find_analysis(name, around)
        if not found:
            notes.warn(
                where, f"{affiliate.id!r} lists {clean(name, 60)!r}, which is not imported and not in the project."
            )
            kept.append({"Pipelines": name})
            continue
        analyses.append(found)
        if analysis and analysis.stage == "private" and affiliate.name not in _names_in(analysis.template):
            message = f"{affiliate.id!r} lists {found!r}, whose own template (webdev) does not name it."
            notes.warn(where, message, "Add it to access.groups there, or remove it here.")
    analyses = sorted(set(analyses))
    data: dict[str, Any] = {"id": affiliate.id, "title": clean(affiliate.name, TITLE) or affiliate.id}
    data |= {"members": members} if members else {}
    data["budget"] = {"amount": affiliate.cap or Decimal(300), "period": "total"}
    data |= {"analyses": analyses} if analyses else {}
    if affiliate.nameless:
        kept.append({"people without an e-mail address": affiliate.nameless})
    head = "# yaml-language-server: $schema=../compiler/schema/profile.schema.json\n"
    head += f"# Imported from {json.dumps(affiliate.first.notes.file)}.\n{origin_line(affiliate.name)}\n"
    text = head + write_yaml(data) + _kept("What could not be translated:", kept)
    return Unit(name=f"users/{affiliate.id}", files={f"users/{affiliate.id}.yaml": text})


def _find_analysis(name: str, around: Surroundings) -> str:
    """Return the id of a blueprint of the project by a name of the original; empty when there is none."""
    if name in around.renamed:
        return around.renamed[name]
    return next((found for found, bucket in around.analyses.items() if name in (found, bucket)), "")


def _names_in(template: Template) -> set[str]:
    rows = template.find("UXData", "Affiliates")
    found = [one.get("AffiliateName") for one in rows if isinstance(one, dict)] if isinstance(rows, list) else []
    return {one for one in found if isinstance(one, str)}


def _kept(title: str, rest: object) -> str:
    return "\n" + comment(title, rest) if rest else ""


def _deployment_unit(name: str, region: str) -> Unit:
    text = (
        "# yaml-language-server: $schema=compiler/schema/deployment.schema.json\n"
        "# Made by an import: the account is a placeholder, and `embedded` runs everything on this machine.\n"
        f'name: {name}\ncloud: embedded\naccount: "000000000000"\nregion: {region}\n'
    )
    return Unit(name="mayfly.yaml", files={"mayfly.yaml": text})
