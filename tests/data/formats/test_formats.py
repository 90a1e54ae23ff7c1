"""A format of labelled frames is one module."""

import importlib
import pkgutil

import numpy as np
import pytest

from convrnn_zoo.data import formats, labelled_frames, open_frames
from convrnn_zoo.data.readers import ARRAY_READERS, FileError

xarray = pytest.importorskip("xarray", reason="the extra netcdf")


def test_the_formats_of_every_module_are_read():
    modules = [importlib.import_module(f"{formats.__name__}.{m.name}") for m in pkgutil.iter_modules(formats.__path__)]
    listed = [form for module in modules for form in getattr(module, "LABELLED", ())]
    assert listed == formats.FORMATS
    assert len(listed) > 4
    assert {suffix for form in listed for suffix in form.suffixes} <= {*formats.SUFFIXES} & {*ARRAY_READERS}


def test_a_format_needs_a_function_and_suffixes(tmp_path, monkeypatch):
    def open_grid(path, variable):
        return xarray.Dataset({"rain": (("y", "x"), np.loadtxt(path, ndmin=2))})

    monkeypatch.setattr(formats, "FORMATS", [*formats.FORMATS, formats.Format("ASCII grid", (".asc",), open_grid)])
    grid = np.arange(20.0).reshape(4, 5)
    np.savetxt(tmp_path / "a.asc", grid)
    np.testing.assert_array_equal(open_frames(tmp_path / "a.asc").read()[0, 0], grid)
    np.testing.assert_array_equal(labelled_frames(tmp_path / "a.asc").rain[0], grid)
    (tmp_path / "a.asc").write_text("rain")
    with pytest.raises(FileError, match=r"a\.asc is not a valid ASCII grid"):
        open_frames(tmp_path / "a.asc")
