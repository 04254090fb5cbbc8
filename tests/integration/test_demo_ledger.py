"""Where the demo's workers keep their ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.secret import keep_secret
from worker import ledger
from worker.clock import WallClock
from worker.demo.workers import ledger_for


async def test_several_workers_get_a_database_that_each_can_use_and_one_gets_a_file(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    if pytestconfig.getoption("--without-postgres"):
        pytest.skip("left out by --without-postgres")
    # Given
    with ledger_for(3, tmp_path, lambda said: None) as url:
        keep_secret(url.split(":")[2].partition("@")[0])
        # When
        stores = [await ledger.open(url, api_base="a", company_id="c", clock=WallClock()) for _ in range(2)]
        for store in stores:
            await store.arrive()
        # Then
        assert [await store.living() for store in stores] == [2, 2]
        for store in stores:
            await store.close()
    with ledger_for(1, tmp_path, lambda said: None) as url:
        assert not ledger.is_shared(url)
