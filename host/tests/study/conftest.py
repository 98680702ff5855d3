"""Small tensors gain nothing from threads here either."""

from tests.twin.conftest import one_thread  # noqa: F401  a fixture for every test here
