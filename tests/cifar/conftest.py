import pytest
from cifar_repository import write_repository


@pytest.fixture(scope="session")
def published_cifar(tmp_path_factory):
    """The small clone; nothing may change it."""
    return write_repository(tmp_path_factory.mktemp("cifar") / "CIFAR-10.1")
