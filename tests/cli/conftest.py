"""Fixtures of the tests of push and pull."""

from tests.hub.conftest import hub, settings

__all__ = ["hub", "settings"]
