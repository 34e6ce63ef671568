"""Bring compiler/data/ up to date: machines and regions from EC2's own description, as the pinned moto carries it.

    .venv/bin/python .ci/catalogue.py                              write instances.json and regions.json anew
    .venv/bin/python .ci/catalogue.py --check                      only tell what is stale
    .venv/bin/python .ci/catalogue.py --prices us-east-1 eu-west-1 also fetch the list prices of these regions
    .venv/bin/python .ci/catalogue.py --prices eu-west-1=index.csv the same of a list that was fetched before

AWS's price lists are public and need no account; one region's is some hundred MB, read as it comes and not kept. The
lists of regions that are not named stay as they are. Machines that EC2 no longer describes (P2, P3) stay in
retired.json, which people write.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import moto.ec2
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

DATA: Final = Path(__file__).resolve().parent.parent / "compiler" / "data"
SOURCE: Final = Path(moto.ec2.__file__).parent / "resources"
ARCHITECTURES: Final = ("x86_64", "arm64")
PRICED: Final = {
    "Operating System": "Linux",
    "Tenancy": "Shared",
    "Pre Installed S/W": "NA",
    "CapacityStatus": "Used",
    "TermType": "OnDemand",
    "Unit": "Hrs",
    "Currency": "USD",
}
"""Columns of the price list that say: a plain Linux machine by the hour."""
PRICE_LIST: Final = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonEC2/current/{region}/index.csv"
PRICE_NOTE: Final = "AWS's price list: on demand, Linux, shared tenancy, USD per hour"
SILENCE_S: Final = 60

Lines = Callable[[str], AbstractContextManager[Iterable[str]]]
"""Opens what `--prices` names, a region or `region=file`, as lines of text."""


def main(arguments: list[str], *, lines: Lines | None = None) -> int:
    """Write the tables, or name those that are stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--prices", nargs="+", default=[], metavar="REGION[=INDEX.CSV]")
    options = parser.parse_args(arguments)
    source = f"EC2's own description of its types, as moto {version('moto')} carries it"
    tables = {
        "instances.json": {"source": source, "types": read_machines()},
        "regions.json": {"source": source, "regions": read_regions()},
    }
    today = datetime.now(UTC).date().isoformat()
    if options.prices:
        known = {*tables["instances.json"]["types"]}
        tables["prices.json"] = renew_prices(options.prices, known=known, date=today, lines=lines or open_list)
    stale = [name for name, table in tables.items() if differs(DATA / name, table)]
    for name in stale:
        if options.check:
            print(f"compiler/data/{name} is not what moto carries: run .ci/catalogue.py", file=sys.stderr)
        else:
            write(DATA / name, tables[name] if name == "prices.json" else {"date": today, **tables[name]})
            print(f"wrote compiler/data/{name}")
    return len(stale) if options.check else 0


def read_machines() -> dict[str, dict[str, Any]]:
    """Return sizes by type, sorted; bare metal and Macs are no machines for jobs."""
    with gzip.open(SOURCE / "instance_types.json.gz") as stream:
        found = json.load(stream)
    machines = {name: read_machine(row) for name, row in found.items() if not row["BareMetal"]}
    return {name: row for name, row in sorted(machines.items()) if row["architecture"]}


def read_machine(row: dict[str, Any]) -> dict[str, Any]:
    """Return what we keep of one type."""
    own = row["ProcessorInfo"]["SupportedArchitectures"]
    gib = Decimal(row["MemoryInfo"]["SizeInMiB"]) / 1024
    gpus = (gpu["Count"] for gpu in row.get("GpuInfo", {}).get("Gpus", ()) if gpu["Manufacturer"] == "NVIDIA")
    return {
        "architecture": next((name for name in ARCHITECTURES if name in own), None),
        "gpus": sum(gpus),
        "memory_gib": int(gib) if gib == int(gib) else float(gib),
        "vcpu": row["VCpuInfo"]["DefaultVCpus"],
    }


def read_regions() -> dict[str, dict[str, list[str]]]:
    """Return zones and offered families by region, sorted; no families where moto does not know them."""
    regions = {}
    for region, zones in sorted(RegionsAndZonesBackend.zones.items()):
        path = SOURCE / "instance_type_offerings" / "region" / f"{region}.json.gz"
        families: list[str] = []
        if path.exists():
            with gzip.open(path) as stream:
                families = sorted({offer["InstanceType"].partition(".")[0] for offer in json.load(stream)})
        regions[region] = {"families": families, "zones": sorted(zone.name for zone in zones)}
    return regions


def renew_prices(wanted: Iterable[str], *, known: set[str], date: str, lines: Lines) -> dict[str, Any]:
    """Return the table of prices with the lists of some regions read anew; each list keeps its own date."""
    table: dict[str, Any] = json.loads((DATA / "prices.json").read_text(encoding="utf-8"))
    for each in wanted:
        region = each.partition("=")[0]
        if region not in RegionsAndZonesBackend.zones:
            raise SystemExit(f"There is no region {region!r}: name one, such as us-east-1.")
        with lines(each) as text:
            types = read_prices(text, known=known, region=region)
        if not types:
            raise SystemExit(f"The list {each!r} has no price of {region}: is it the list of another region?")
        table["regions"][region] = {"date": date, "source": PRICE_NOTE, "types": types}
    return {**table, "regions": dict(sorted(table["regions"].items()))}


@contextmanager
def open_list(wanted: str) -> Iterator[Iterable[str]]:
    """Open the list of a region that AWS publishes, or a file that holds it."""
    region, _, path = wanted.partition("=")
    if path:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            yield stream
        return
    with urlopen(PRICE_LIST.format(region=region), timeout=SILENCE_S) as answer:  # noqa: S310  (our own https)
        yield (line.decode("utf-8") for line in answer)


def read_prices(lines: Iterable[str], *, known: set[str], region: str) -> dict[str, str]:
    """Return a region's on-demand prices by type, sorted, from the CSV form of AWS's price list."""
    prices, rest = {}, iter(lines)
    head = next((line for line in rest if line.startswith('"SKU"')), "")  # lines about the list itself come first
    for row in csv.DictReader(rest, fieldnames=next(csv.reader([head]), [])):
        name, price = row["Instance Type"], Decimal(row["PricePerUnit"] or 0)
        here = row["Region Code"] == region
        if here and name in known and price and all(row[column] == value for column, value in PRICED.items()):
            prices[name] = format(price.normalize(), "f")
    return dict(sorted(prices.items()))


def differs(path: Path, table: dict[str, Any]) -> bool:
    """Return whether a file says something else, apart from its date."""
    if not path.exists():
        return True
    kept = json.loads(path.read_text(encoding="utf-8"))
    return {key: value for key, value in kept.items() if key != "date"} != table


def write(path: Path, table: dict[str, Any]) -> None:
    """Write a table with one row a line, so that a review shows what changed."""
    path.write_text(f"{lay_out(table)}\n", encoding="utf-8")


def lay_out(value: dict[str, Any], indent: str = "") -> str:
    """Return JSON whose tables, `types` and `regions`, have a line for each row; rows that hold tables have more."""
    parts = []
    for key, part in value.items():
        text = json.dumps(part)
        if key in {"types", "regions"}:
            nested = {
                name: lay_out(row, f"{indent}    ") if holds_table(row) else json.dumps(row)
                for name, row in part.items()
            }
            rows = ",\n".join(f"{indent}    {json.dumps(name)}: {row}" for name, row in nested.items())
            text = f"{{\n{rows}\n{indent}  }}"
        parts.append(f"{indent}  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def holds_table(row: object) -> bool:
    """Whether a row is a table with a head of its own: the list of a region."""
    return isinstance(row, dict) and isinstance(row.get("types"), dict)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
