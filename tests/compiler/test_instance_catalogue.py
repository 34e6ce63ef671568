from __future__ import annotations

import json
import re
from decimal import Decimal
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from compiler.catalogue import instance, instances, price_note, regions, unpriced
from state.errors import UsageError
from tests.compiler.projects import REPOSITORY


def _load_script() -> Any:
    spec = spec_from_file_location("catalogue_script", REPOSITORY / ".ci/catalogue.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


catalogue = _load_script()


def test_sizes_and_prices_of_a_machine() -> None:
    machine = instance("m5.large")
    assert (machine.vcpu, machine.memory_gib, machine.gpus, machine.architecture) == (2, 8, 0, "x86_64")
    assert machine.hourly_usd == Decimal("0.096")
    assert machine.successor is None
    assert instance("g4dn.12xlarge").gpus == 4
    assert instance("m7g.large").architecture == "arm64"
    assert instance("m5.16xlarge").hourly_usd == Decimal("3.072")


def test_retired_machines_name_a_successor_with_as_many_gpus() -> None:
    retired = [one for one in instances().values() if one.successor]
    assert {one.family for one in retired} >= {"p2", "p3", "p3dn"}
    for one in retired:
        successor = instance(str(one.successor))
        assert successor.successor is None
        assert successor.gpus >= min(one.gpus, 8)


def test_an_unknown_machine_is_told() -> None:
    with pytest.raises(UsageError, match=r"instance type 'm5\.huge' is not in the catalogue"):
        instance("m5.huge")


def test_a_machine_without_a_price_is_known_and_refused() -> None:
    assert "u7i-12tb.224xlarge" in unpriced()
    assert not unpriced() & instances().keys()
    with pytest.raises(UsageError, match=r"no price of instance type 'u7i-12tb\.224xlarge' is known"):
        instance("u7i-12tb.224xlarge")


@pytest.mark.parametrize("name", ["instances", "prices", "regions", "retired"])
def test_each_table_is_dated_sorted_and_says_where_it_comes_from(name: str) -> None:
    table = json.loads(files("compiler").joinpath(f"data/{name}.json").read_text(encoding="utf-8"))
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", table["date"])
    assert len(table["source"]) > 30
    rows = table["regions" if name == "regions" else "types"]
    assert list(rows) == sorted(rows)


def test_the_figures_are_plausible() -> None:
    for one in instances().values():
        assert 0 < one.vcpu <= 192
        assert Decimal("0.001") < one.hourly_usd / one.vcpu < Decimal(3)
        assert one.architecture in {"x86_64", "arm64"}
    assert "entered by hand" in price_note()


def test_regions_have_zones_and_families() -> None:
    region = regions()["us-east-1"]
    assert "us-east-1a" in region.zones
    assert "g5" in region.families
    assert "p2" not in region.families
    assert all(zone.startswith(name) for name, one in regions().items() for zone in one.zones)


def test_the_tables_are_what_moto_carries() -> None:
    assert catalogue.main(["--check"]) == 0


def test_prices_are_read_from_the_list_that_aws_publishes(tmp_path: Path) -> None:
    """The list starts with lines about itself, and holds every offer of every kind."""
    head = '"FormatVersion","v1.0"\n"Disclaimer","x"\n'
    columns = ["SKU", *catalogue.PRICED, "Instance Type", "PricePerUnit"]
    plain = ["S", *catalogue.PRICED.values(), "m5.large", "0.0960000000"]
    windows = ["S", "Windows", *list(catalogue.PRICED.values())[1:], "m5.large", "0.188"]
    unknown = ["S", *catalogue.PRICED.values(), "m99.large", "9"]
    lines = [",".join(f'"{cell}"' for cell in row) for row in (columns, plain, windows, unknown)]
    path = tmp_path / "index.csv"
    path.write_text(head + "\n".join(lines) + "\n")
    assert catalogue.read_prices(path, known={"m5.large"}) == {"m5.large": "0.096"}
