import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "cifar"))


@pytest.fixture(scope="session")
def published_cifar(tmp_path_factory):
    """The small clone of the CIFAR-10.1 repository."""
    from cifar_repository import write_repository

    return write_repository(tmp_path_factory.mktemp("cifar") / "CIFAR-10.1")
