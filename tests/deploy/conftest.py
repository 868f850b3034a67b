"""One finished run of a second, which all that leaves the laboratory starts from."""

from __future__ import annotations

import pytest
from small import NOISE, execute, tiny

from splitpriv.store import Row, Store


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Row]:
    """A store with the row of a tiny network behind noise."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("shelf")
        patch.setenv("SPLITPRIV_OUTPUTS", str(root))
        store = Store(root)
        return store, execute(tiny(*NOISE), store)
