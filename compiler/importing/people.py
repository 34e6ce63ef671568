"""Affiliates of the original as groups: their people, and what they opted in to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from compiler.importing.analysis import REGION
from compiler.importing.names import clean, is_email, make_id
from compiler.importing.template import Kind, Template, show
from compiler.source import FieldPath, spell_path

TITLE, NAME = 120, 120
"""Characters that the title of a group and the name of a person may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a template's list of affiliates.

    Attributes:
        template: where it stands.
        path: where in it.
        name: the affiliate.
    """

    template: Template
    path: FieldPath
    name: str

    @property
    def field(self) -> str:
        """Its path, as messages spell it."""
        return spell_path(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with an e-mail address.

    Attributes:
        name: as the original has it, or the first part of the address.
        address: as it was written.
        entry: who says so.
    """

    name: str
    address: str
    entry: Entry


@dataclass(slots=True, kw_only=True)
class Affiliate:
    """A group as all templates together describe it.

    Attributes:
        name: the original's name, the first part of its keys in every bucket.
        id: our id.
        first: the template that named it first.
        people: by e-mail address, in lower case.
        owners: addresses, in lower case, of those who were to be notified.
        nameless: names of people without an address.
        analyses: the original's names of the analyses that it opted in to, and who says so.
        kept: what could not be translated.
        cap: the most it may spend, USD.
    """

    name: str
    id: str
    first: Template
    people: dict[str, Person] = field(default_factory=dict)
    owners: set[str] = field(default_factory=set)
    nameless: list[str] = field(default_factory=list)
    analyses: dict[str, Entry] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)
    cap: Decimal = Decimal(0)


def read_entries(template: Template) -> Iterator[Entry]:
    """Yield the affiliates of a template; those without a name are reported."""
    seen: dict[str, str] = {}
    for path in template.rows("UXData", "Affiliates"):
        name = template.text(*path, "AffiliateName")
        if not name:
            if not template.has(*path, "AffiliateName"):
                template.notes.warn(spell_path(path), "names no affiliate; it was not imported.")
            continue
        if name in seen:
            template.notes.warn(
                spell_path(path), f"{clean(name, 60)!r} is there already, at {seen[name]}; both are joined."
            )
        seen.setdefault(name, spell_path(path))
        yield Entry(template=template, path=path, name=name)


def join_entry(affiliate: Affiliate, entry: Entry) -> None:
    """Add what one entry says to its group."""
    template, notes = entry.template, entry.template.notes
    users = list(dict.fromkeys(template.texts(*entry.path, "UserNames")))
    named, contacts = _read_contacts(entry, users)
    nameless = []
    for user in users:
        address = named.get(user) or (user if is_email(user) else "")
        if address:
            affiliate.people.setdefault(
                address.casefold(), Person(name=clean(user, NAME), address=address, entry=entry)
            )
        else:
            nameless.append(user)
    if nameless:
        affiliate.nameless += [user for user in nameless if user not in affiliate.nameless]
        who = f"{len(nameless)} of {len(users)} people have no e-mail address; they are kept in a comment."
        notes.warn(spell_path((*entry.path, "UserNames")), who, "Add them with one.")
    for contact in contacts:
        name = contact.split("@", maxsplit=1)[0]
        affiliate.people.setdefault(contact.casefold(), Person(name=name, address=contact, entry=entry))
        affiliate.owners.add(contact.casefold())
    origin = template.find(*entry.path, "UserInput")
    if origin is True:
        template.taken.add((*entry.path, "UserInput"))
    elif origin is False:
        notes.warn(
            f"{entry.field}.UserInput",
            "is false: datasets came from another analysis's results.",
            "Make this analysis a step of a chain there.",
        )
    elif template.has(*entry.path, "UserInput"):
        notes.warn(f"{entry.field}.UserInput", f"{show(origin)} is neither true nor false; kept in a comment.")
    for name in template.texts(*entry.path, "Pipelines"):
        affiliate.analyses.setdefault(name, entry)


def _read_contacts(entry: Entry, users: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the addresses of users by name, and those of the people to be notified."""
    template, path = entry.template, (*entry.path, "ContactEmail")
    value = template.find(*path)
    if isinstance(value, dict):
        found = {}
        for user, address in value.items():
            if isinstance(address, str) and is_email(address):
                found[user] = address
                template.taken.add((*path, user))
            else:
                template.notes.warn(spell_path((*path, user)), "is no e-mail address; kept in a comment.")
        strangers = [address for user, address in found.items() if user not in users]
        return found, strangers
    contacts = []
    for text in template.texts(*path):
        if is_email(text):
            contacts.append(text)
        else:
            template.taken = {p for p in template.taken if p[: len(path)] != path}
            template.notes.warn(spell_path(path), f"{clean(text, 60)!r} is no e-mail address; kept in a comment.")
    if contacts and len(contacts) == len(users):
        return dict(zip(users, contacts, strict=True)), contacts[:1]
    return {}, contacts


def gather(templates: list[Template], *, most: int) -> tuple[dict[str, Affiliate], dict[int, list[Entry]]]:
    """Return all affiliates by their original name, and the entries of each template, by its position."""
    affiliates: dict[str, Affiliate] = {}
    listed: dict[int, list[Entry]] = {}
    for number, template in enumerate(templates):
        listed[number] = []
        for entry in read_entries(template):
            affiliate = affiliates.get(entry.name)
            if affiliate is None:
                affiliate = Affiliate(name=entry.name, id=make_id(entry.name, most=most), first=template)
                affiliates[entry.name] = affiliate
                if affiliate.id != entry.name:
                    message = f"{clean(entry.name, 80)!r} is not an id of ours; the group is {affiliate.id!r}."
                    template.notes.mention(f"{entry.field}.AffiliateName", message, "Its file keeps the name.")
            _contradict(affiliate, entry)
            join_entry(affiliate, entry)
            listed[number].append(entry)
            if template.kind is Kind.PEOPLE and (rest := template.left_over(*entry.path)):
                affiliate.kept.append(rest)
        if template.kind is Kind.PEOPLE:
            _read_rest(template, [affiliates[one.name] for one in listed[number]])
    return affiliates, listed


def _contradict(affiliate: Affiliate, entry: Entry) -> None:
    """Report when an entry names other people than another template did."""
    before = {one.name for one in affiliate.people.values()} | set(affiliate.nameless)
    said = entry.template.find(*entry.path, "UserNames")
    now = {one for one in said if isinstance(one, str)} if isinstance(said, list) else set()
    other = affiliate.first.notes.file
    if before and now and other != entry.template.notes.file and not now <= before:
        names = ", ".join(clean(one, 40) for one in sorted(now - before)[:5])
        entry.template.notes.mention(
            f"{entry.field}.UserNames", f"{names}: not in {other}; people of both are members."
        )


def _read_rest(template: Template, affiliates: list[Affiliate]) -> None:
    """Keep what a profile says beside its affiliates with the first of them: the platform decides that here."""
    stage = template.take("STAGE")
    if stage not in (None, "webusercentric", "websubstack", "webdev", "develop"):
        template.notes.warn("STAGE", "is no stage; groups have none here.")
    region = template.find("Lambda", "LambdaConfig", "REGION")
    if isinstance(region, str) and not REGION.fullmatch(region):
        template.notes.warn("Lambda.LambdaConfig.REGION", f"{clean(region, 40)!r} is no region.")
    if (rest := template.left_over("Lambda")) is not None:
        template.notes.mention("Lambda", "is decided by mayfly.yaml and the blueprints; it is kept in a comment.")
        if affiliates:
            affiliates[0].kept.append({"Lambda": rest})
