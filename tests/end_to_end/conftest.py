from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.living import Living


@pytest.fixture(scope="session")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    """One platform for all end-to-end tests of this process: bringing it up takes a minute."""
    platform = Living(tmp_path_factory.mktemp("project"))
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()
