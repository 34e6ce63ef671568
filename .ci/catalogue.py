"""Bring compiler/data/ up to date: machines and regions from EC2's own description, as the pinned moto carries it.

    .venv/bin/python .ci/catalogue.py                     write instances.json and regions.json anew
    .venv/bin/python .ci/catalogue.py --check             only tell what is stale
    .venv/bin/python .ci/catalogue.py --prices index.csv  also take list prices from AWS's price list of us-east-1

The price list is public, about 300 MB, and needs no account:
https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonEC2/current/us-east-1/index.csv
Machines that EC2 no longer describes (P2, P3) stay in retired.json, which people write.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

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


def main(arguments: list[str]) -> int:
    """Write the tables, or name those that are stale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--prices", type=Path, metavar="INDEX.CSV")
    options = parser.parse_args(arguments)
    source = f"EC2's own description of its types, as moto {version('moto')} carries it"
    tables = {
        "instances.json": {"source": source, "types": read_machines()},
        "regions.json": {"source": source, "regions": read_regions()},
    }
    if options.prices:
        note = "AWS's price list: on demand, Linux, shared tenancy, USD per hour"
        prices = read_prices(options.prices, known={*tables["instances.json"]["types"]})
        tables["prices.json"] = {"region": "us-east-1", "source": note, "types": prices}
    stale = [name for name, table in tables.items() if differs(DATA / name, table)]
    for name in stale:
        if options.check:
            print(f"compiler/data/{name} is not what moto carries: run .ci/catalogue.py", file=sys.stderr)
        else:
            write(DATA / name, {"date": datetime.now(UTC).date().isoformat(), **tables[name]})
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


def read_prices(path: Path, *, known: set[str]) -> dict[str, str]:
    """Return on-demand prices by type, sorted, from the CSV form of AWS's price list."""
    prices = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for line in stream:
            if line.startswith('"SKU"'):  # lines about the list itself come first
                break
        for row in csv.DictReader(stream, fieldnames=next(csv.reader([line]))):
            name, price = row["Instance Type"], Decimal(row["PricePerUnit"] or 0)
            if name in known and price and all(row[column] == value for column, value in PRICED.items()):
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
    *heads, (name, rows) = table.items()
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}," for key, value in heads]
    body = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in rows.items())
    path.write_text("{\n" + "\n".join(lines) + f"\n  {json.dumps(name)}: {{\n{body}\n  }}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
