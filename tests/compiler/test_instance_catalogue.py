from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from compiler.catalogue import instance, instances, list_prices, price_note, reference_region, regions
from state.errors import UsageError
from state.vcpus import BY_LETTERS, Family
from tests.compiler.projects import REPOSITORY


def _load_script() -> Any:
    spec = spec_from_file_location("catalogue_script", REPOSITORY / ".ci/catalogue.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


catalogue = _load_script()


def read_table(name: str) -> Any:
    return json.loads(files("compiler").joinpath(f"data/{name}.json").read_text(encoding="utf-8"))


def test_sizes_of_a_machine() -> None:
    machine = instance("m5.large")
    assert (machine.vcpu, machine.memory_gib, machine.gpus, machine.architecture) == (2, 8, 0, "x86_64")
    assert machine.successor is None
    assert instance("g4dn.12xlarge").gpus == 4
    assert instance("m7g.large").architecture == "arm64"


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


def test_prices_are_those_of_their_region_and_some_machines_have_none() -> None:
    assert list_prices()["us-east-1"]["m5.large"] == Decimal("0.096")
    assert list_prices()["us-east-1"]["m5.16xlarge"] == Decimal("3.072")
    assert list_prices()["us-east-1"]["p2.xlarge"] == Decimal("0.9")
    assert instance("u7i-12tb.224xlarge").name not in list_prices()["us-east-1"]
    assert list_prices().keys() <= regions().keys()


@pytest.mark.parametrize("name", ["instances", "regions", "retired"])
def test_each_table_is_dated_sorted_and_says_where_it_comes_from(name: str) -> None:
    table = read_table(name)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", table["date"])
    assert len(table["source"]) > 30
    rows = table["regions" if name == "regions" else "types"]
    assert list(rows) == sorted(rows)


def test_each_list_of_prices_is_dated_sorted_and_says_where_it_comes_from() -> None:
    lists = read_table("prices")["regions"]
    assert reference_region() in lists
    for region, table in lists.items():
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", table["date"])
        assert list(table["types"]) == sorted(table["types"])
        assert region in price_note(region)
        assert table["source"] in price_note(region)
    assert price_note("eu-nowhere-1") == ""


def test_the_figures_are_plausible() -> None:
    for one in instances().values():
        assert 0 < one.vcpu <= 1024
        assert one.architecture in {"x86_64", "arm64"}
    for prices in list_prices().values():
        for name, price in prices.items():
            assert Decimal("0.001") < price / instance(name).vcpu < Decimal(3)


def test_every_machine_is_of_a_family_whose_quota_is_known() -> None:
    """A new family must be looked up in AWS's list of quotas, not taken for Standard."""
    letters = {re.match("[a-z]+", name)[0] for name in instances()}  # type: ignore[index]
    assert letters <= BY_LETTERS.keys()
    assert instance("vt1.3xlarge").counts_with is Family.G


def test_regions_have_zones_and_families() -> None:
    region = regions()["us-east-1"]
    assert "us-east-1a" in region.zones
    assert "g5" in region.families
    assert "p2" not in region.families
    assert all(zone.startswith(name) for name, one in regions().items() for zone in one.zones)


def test_the_tables_are_what_moto_carries() -> None:
    assert catalogue.main(["--check"]) == 0


COLUMNS = ["SKU", *catalogue.PRICED, "Instance Type", "PricePerUnit", "Region Code"]
PLAIN = list(catalogue.PRICED.values())


def a_list(*rows: list[str]) -> list[str]:
    """What AWS publishes: lines about the list itself, the names of the columns, and every offer of every kind."""
    lines = [",".join(f'"{cell}"' for cell in row) + "\n" for row in (COLUMNS, *rows)]
    return ['"FormatVersion","v1.0"\n', '"Disclaimer","x"\n', *lines]


def test_prices_are_read_from_the_list_that_aws_publishes() -> None:
    rows = (
        ["S", *PLAIN, "m5.large", "0.1150000000", "eu-central-1"],
        ["S", "Windows", *PLAIN[1:], "m5.large", "0.188", "eu-central-1"],
        ["S", *PLAIN, "m99.large", "9", "eu-central-1"],
        ["S", *PLAIN, "m5.xlarge", "8", "eu-central-1-ham-1"],
    )
    known = {"m5.large", "m5.xlarge"}
    assert catalogue.read_prices(a_list(*rows), known=known, region="eu-central-1") == {"m5.large": "0.115"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script's own copy of the tables."""
    shutil.copytree(REPOSITORY / "compiler/data", tmp_path / "data")
    monkeypatch.setattr(catalogue, "DATA", tmp_path / "data")
    return tmp_path / "data"


def test_the_regions_that_are_named_are_fetched_and_the_others_stay_byte_for_byte(data: Path, tmp_path: Path) -> None:
    before = (data / "prices.json").read_text()
    asked: list[str] = []

    @contextmanager
    def fetch(wanted: str) -> Iterator[list[str]]:
        asked.append(wanted)
        yield a_list(["S", *PLAIN, "m5.large", {"eu-west-1": "0.107", "sa-east-1": "0.153"}[wanted], wanted])

    assert catalogue.main(["--prices", "sa-east-1", "eu-west-1"], lines=fetch) == 0
    assert asked == ["sa-east-1", "eu-west-1"]
    lists = json.loads((data / "prices.json").read_text())["regions"]
    assert list(lists) == ["eu-west-1", "sa-east-1", "us-east-1"]
    assert lists["eu-west-1"]["types"] == {"m5.large": "0.107"}
    assert lists["us-east-1"] == json.loads(before)["regions"]["us-east-1"]
    added = (data / "prices.json").read_text().splitlines()
    assert [line for line in before.splitlines() if line not in added] == []
    path = tmp_path / "index.csv"
    path.write_text("".join(a_list(["S", *PLAIN, "m5.large", "0.1", "us-west-1"])))
    assert catalogue.main(["--prices", f"us-west-1={path}"]) == 0
    assert json.loads((data / "prices.json").read_text())["regions"]["us-west-1"]["types"] == {"m5.large": "0.1"}
    with pytest.raises(SystemExit, match="has no price of us-west-2: is it the list of another region"):
        catalogue.main(["--prices", f"us-west-2={path}"])
    with pytest.raises(SystemExit, match="There is no region 'us-wst-1'"):
        catalogue.main(["--prices", "us-wst-1"])
