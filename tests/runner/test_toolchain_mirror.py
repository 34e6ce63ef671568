"""Where the provider comes from: folders of the machine, links of ours, the registry last."""

from __future__ import annotations

import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runner.mirror import ProviderSource, find_provider, is_acceptable, platform_name, quote, write_config
from runner.prepared import check_reach, prepare_provider
from runner.toolchain import Toolchain
from state.errors import EnvironmentMissingError, TerraformError

HOST = "registry.terraform.io"


def unpacked(mirror: Path, version: str, *, host: str = HOST, platform: str | None = None) -> Path:
    folder = mirror / host / "hashicorp" / "aws" / version / (platform or platform_name())
    folder.mkdir(parents=True)
    binary = folder / f"terraform-provider-aws_v{version}_x5"
    binary.write_text("provider")
    binary.chmod(0o755)
    return folder


def packed(mirror: Path, version: str) -> Path:
    folder = mirror / HOST / "hashicorp" / "aws"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"terraform-provider-aws_{version}_{platform_name()}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"terraform-provider-aws_v{version}_x5", "provider")
    return path


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("5.100.0", True),
        ("6.0.0", True),
        ("6.31.2", True),
        ("5.99.1", False),
        ("7.0.0", False),
        ("6.0.0-beta1", False),
        ("aws", False),
    ],
)
def test_the_modules_want_5_100_or_later_before_7(version: str, good: bool) -> None:
    assert is_acceptable(version) is good


@pytest.mark.parametrize(
    ("variable", "value", "folder"),
    [
        ("HOME", "home", "home/.terraform.d/plugins"),
        ("HOME", "home", "home/.local/share/terraform/plugins"),
        ("HOME", "home", "home/.terraform.d/plugin-cache"),
        ("XDG_DATA_HOME", "data", "data/terraform/plugins"),
        ("XDG_DATA_DIRS", "one", "one/terraform/plugins"),
        ("TF_PLUGIN_CACHE_DIR", "cache", "cache"),
        ("OTHER", "", "usr/share/terraform/plugins"),
        ("OTHER", "", "usr/local/share/terraform/plugins"),
        ("OTHER", "", "opt/any-name/"),
    ],
)
def test_every_usual_folder_is_looked_in(tmp_path: Path, variable: str, value: str, folder: str) -> None:
    expected = unpacked(tmp_path / folder, "5.100.0")
    found = find_provider({variable: str(tmp_path / value)}, machine=tmp_path)
    assert found == ProviderSource(mirror=tmp_path / folder, path=expected, version="5.100.0")


def test_the_newest_acceptable_for_this_machine_is_taken(tmp_path: Path) -> None:
    mirror = tmp_path / "opt" / "plugins"
    unpacked(mirror, "5.100.0")
    unpacked(mirror, "5.99.0")
    unpacked(mirror, "7.1.0")
    unpacked(mirror, "6.20.0", platform="plan9_mips")
    newest = packed(mirror, "6.9.0")
    packed(mirror, "6.10.0-rc1")
    found = find_provider({}, machine=tmp_path)
    assert found is not None
    assert (found.version, found.path) == ("6.9.0", newest)


def test_a_folder_without_a_program_is_no_provider(tmp_path: Path) -> None:
    folder = unpacked(tmp_path / "opt" / "plugins", "5.100.0")
    next(folder.iterdir()).chmod(0o644)
    next(folder.iterdir()).unlink()
    assert find_provider({"HOME": str(tmp_path / "nobody")}, machine=tmp_path) is None


@pytest.mark.parametrize("product", ["terraform", "opentofu"])
def test_the_configuration_serves_each_product_under_its_own_registry(tmp_path: Path, product: str) -> None:
    path = unpacked(tmp_path / "opt" / "plugins", "5.100.0")
    source = find_provider({}, machine=tmp_path)
    config = write_config(tmp_path / "cache", product, source, {})
    host = {"terraform": HOST, "opentofu": "registry.opentofu.org"}[product]
    link = tmp_path / "cache" / "mirror" / "5.100.0" / host / "hashicorp" / "aws" / "5.100.0" / platform_name()
    assert link.resolve() == path
    text = config.read_text()
    assert text.count(f'["{host}/hashicorp/aws"]') == 2
    assert f'path    = "{tmp_path}/cache/mirror/5.100.0"' in text
    before = config.stat().st_mtime_ns
    assert write_config(tmp_path / "cache", product, source, {}) == config
    assert config.stat().st_mtime_ns == before, "nothing is written twice"


def test_a_zip_file_is_served_as_it_is(tmp_path: Path) -> None:
    path = packed(tmp_path / "opt" / "plugins", "6.9.0")
    write_config(tmp_path / "cache", "opentofu", find_provider({}, machine=tmp_path), {})
    link = tmp_path / "cache" / "mirror" / "6.9.0" / "registry.opentofu.org" / "hashicorp" / "aws" / path.name
    assert link.resolve() == path


def test_a_persons_own_configuration_is_used_when_it_says_where_providers_come_from(tmp_path: Path) -> None:
    own = tmp_path / "own.tfrc"
    own.write_text('provider_installation {\n  network_mirror {\n    url = "https://mirror.example.org/"\n  }\n}\n')
    assert write_config(tmp_path / "cache", "terraform", None, {"TF_CLI_CONFIG_FILE": str(own)}) == own
    own.write_text("disable_checkpoint = true\n")
    ours = write_config(tmp_path / "cache", "terraform", None, {"TF_CLI_CONFIG_FILE": str(own)})
    assert ours.parent == tmp_path / "cache"
    assert "provider_installation" not in ours.read_text()
    missing = {"TF_CLI_CONFIG_FILE": str(tmp_path / "not-there")}
    assert write_config(tmp_path / "cache", "terraform", None, missing) == ours


def test_a_path_is_data_in_the_configuration() -> None:
    assert quote('/a "b"/${x}/%{y}/é') == '"/a \\"b\\"/$${x}/%%{y}/é"'


def test_a_registry_out_of_reach_is_told_in_seconds() -> None:
    started = time.monotonic()
    assert check_reach("registry.invalid")
    assert check_reach("127.0.0.1:9")
    assert time.monotonic() - started < 15


# The prepared provider, with an init that does what Terraform's would.


class Init:
    def __init__(self, provider: Path) -> None:
        self.provider, self.calls, self.gate = provider, 0, threading.Event()

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        self.gate.wait(0.3)
        leaf = folder / ".terraform" / "providers" / HOST / "hashicorp" / "aws" / "5.100.0" / platform_name()
        leaf.parent.mkdir(parents=True)
        leaf.symlink_to(self.provider)
        (folder / ".terraform.lock.hcl").write_text("lock")


def toolchain(tmp_path: Path, **changes: object) -> Toolchain:
    values: dict[str, object] = {
        "binary": tmp_path / "terraform",
        "version": "1.11.4",
        "product": "terraform",
        "mirror": tmp_path / "opt" / "plugins",
        "provider": "5.100.0",
        "config": tmp_path / "cache" / "terraform.tfrc",
        "cache": tmp_path / "cache",
    }
    return Toolchain(**{**values, **changes})  # type: ignore[arg-type]


def test_many_who_ask_at_once_prepare_it_once(tmp_path: Path) -> None:
    init = Init(unpacked(tmp_path / "opt" / "plugins", "5.100.0"))
    with ThreadPoolExecutor(max_workers=4) as pool:
        got = list(pool.map(lambda _: prepare_provider(toolchain(tmp_path), init), range(4)))
    assert init.calls == 1
    assert len(set(got)) == 1
    assert [p.name for p in (tmp_path / "cache" / "prepared").iterdir() if p.is_dir()] == ["terraform-5.100.0"]


def test_a_root_is_linked_again_and_again_and_an_old_lock_is_replaced(tmp_path: Path) -> None:
    provider = unpacked(tmp_path / "opt" / "plugins", "5.100.0")
    prepared = prepare_provider(toolchain(tmp_path), Init(provider))
    root = tmp_path / "root"
    root.mkdir()
    (root / ".terraform.lock.hcl").write_text("another version")
    for _ in range(2):
        prepared.link_into(root)
    leaf = root / ".terraform" / "providers" / HOST / "hashicorp" / "aws" / "5.100.0" / platform_name()
    assert leaf.is_symlink()
    assert leaf.resolve() == provider
    assert (root / ".terraform.lock.hcl").read_text() == "lock"
    assert not list(root.rglob(".*.[0-9]*")), "no half-made file is left"


def test_a_provider_that_went_away_is_prepared_anew(tmp_path: Path) -> None:
    gone = unpacked(tmp_path / "opt" / "plugins", "5.100.0")
    prepare_provider(toolchain(tmp_path), Init(gone))
    next(gone.iterdir()).unlink()
    gone.rmdir()
    elsewhere = unpacked(tmp_path / "opt" / "others", "5.100.0")
    init = Init(elsewhere)
    assert prepare_provider(toolchain(tmp_path), init).links[0][1] == elsewhere
    assert init.calls == 1


def test_no_provider_and_no_network_is_one_sentence_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    init = Init(tmp_path)
    started = time.monotonic()
    with pytest.raises(EnvironmentMissingError) as caught:
        prepare_provider(toolchain(tmp_path, mirror=None, provider=""), init)
    assert time.monotonic() - started < 10
    assert init.calls == 0
    message = str(caught.value)
    assert "cannot be reached" in message
    assert "~/.terraform.d/plugins" in message
    assert "\n" not in message


def test_what_is_prepared_is_a_mirror_of_its_own(tmp_path: Path) -> None:
    """An init of a later root asks no registry, wherever the provider came from."""
    prepared = prepare_provider(toolchain(tmp_path), Init(unpacked(tmp_path / "opt" / "plugins", "5.100.0")))
    folder = tmp_path / "cache" / "prepared" / "terraform-5.100.0"
    assert f'path    = "{folder}/.terraform/providers"' in prepared.config.read_text()
    assert prepare_provider(toolchain(tmp_path), Init(tmp_path)) == prepared


def test_an_init_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("made")
        raise TerraformError("init failed", command="init", diagnostics=["checksum differs"])

    with pytest.raises(EnvironmentMissingError, match="checksum differs"):
        prepare_provider(toolchain(tmp_path), fail)
    assert [p.name for p in (tmp_path / "cache" / "prepared").iterdir()] == ["lock"]
