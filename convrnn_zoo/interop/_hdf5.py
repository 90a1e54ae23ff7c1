"""HDF5 files that may be damaged or untrusted."""

import io
import re
from typing import Any


class CheckedFile(io.BufferedReader):
    """Binary file for ``h5py.File`` that raises OSError for damage that would keep libhdf5 in an endless loop.

    A global heap stores variable-length strings. libhdf5 2.0 and earlier read it in a loop over its objects. The loop
    never ends if an object has size 0. Each heap is checked once, and heaps must not overlap, so that the checks take
    linear time. Close the ``h5py.File`` before this file, which closes the one that it reads: use both in a
    ``with`` statement.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.checked: set[int] = set()
        self.objects = self.seek(0, io.SEEK_END) // 16
        """Largest number of objects in heaps that are not checked yet; each has at least 16 bytes."""
        self.seek(0)

    def readinto(self, buffer: Any, /) -> int:
        begin = self.tell()
        count = super().readinto(buffer)
        if count < 2**20:  # larger reads are of arrays, not of metadata
            before = min(begin, 3)  # the signature may begin in an earlier read
            self.seek(begin - before)
            for match in re.finditer(b"GCOL\1", self.read(before + count + 4)):
                self._check_heap(begin - before + match.start())
            self.seek(begin + count)
        return count

    def _check_heap(self, at: int) -> None:
        """Raises OSError if the global heap that begins at byte `at` has an object of invalid size."""
        if at in self.checked:
            return
        self.checked.add(at)
        self.seek(at + 8)
        end = at + int.from_bytes(self.read(8), "little")
        at += 16
        while at + 16 <= end:
            self.seek(at)
            head = self.read(16)
            index, size = int.from_bytes(head[:2], "little"), int.from_bytes(head[8:], "little")
            size = size if index == 0 else 16 + (size + 7) // 8 * 8  # index 0 is the free space, with its header
            self.objects -= 1
            if size < 16 or at + size > end or self.objects < 0:
                raise OSError(f"its global heap has an object of invalid size at byte {at}")
            at += size
