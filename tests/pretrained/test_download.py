"""Errors of huggingface_hub become one line: the file, the reason and a hint."""

import errno
import os

import pytest
from huggingface_hub import errors

from convrnn_zoo import HubAccessError, WeightsError
from convrnn_zoo.pretrained.download import HubFile, hub_error, hub_errors

FILE = HubFile("alice/rain")


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.ENOSPC, "free disk space"), (errno.EACCES, "writable directory"), (errno.EIO, "")]
)
def test_a_hint_follows_the_number_of_the_system(number, hint):
    text = str(hub_error(OSError(number, os.strerror(number)), FILE))
    assert os.strerror(number) in text
    assert hint in text
    assert (";" in text) == bool(hint)


def test_an_invalid_name_is_an_error_of_weights():
    error = hub_error(errors.HFValidationError("bad name"), FILE)
    assert isinstance(error, WeightsError)
    assert "owner/name" in str(error)


def test_only_errors_of_the_client_are_converted():
    with pytest.raises(HubAccessError, match=r"alice/rain.*away"), hub_errors(FILE):
        raise ConnectionResetError("away")
    with pytest.raises(ZeroDivisionError), hub_errors(FILE):
        raise ZeroDivisionError
    ours = WeightsError("ours")
    with pytest.raises(WeightsError) as caught, hub_errors(FILE):
        raise ours
    assert caught.value is ours
