"""What the tests of cheats in whole studies share."""

import pytest
from e2e import studies


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The folder of a small text, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield studies.write_corpus(tmp_path_factory.mktemp("corpus"))
