"""What the tests of whole studies share."""

import pytest
import studies


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The folder of a small text; what is prepared of it lies in a cache of the test module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTORESEARCH_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield studies.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def fresh(tmp_path, corpus):
    """(study, setup) of one that has not begun."""
    return studies.make(tmp_path / "study", corpus)


@pytest.fixture
def begun(tmp_path, corpus):
    """(study, setup) of one with its baseline."""
    return studies.played(tmp_path / "study", corpus)
