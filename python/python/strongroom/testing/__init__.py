"""Stores for the tests of programs that use Strongroom.

With pytest, a test takes a store as an argument. The fixtures come with the package; nothing is imported:

>>> def test_a_passport_is_kept(strongroom_store):
...     key = strongroom_store.store("user:42:passport", b"scanned pages")
...     assert strongroom_store.retrieve("user:42:passport", key) == b"scanned pages"

``strongroom_store`` is a :class:`strongroom.Strongroom`, ``strongroom_aio_store`` a :class:`strongroom.aio.Strongroom`.
Each test gets an empty store in memory, which is closed after it.
"""

import strongroom

__all__ = ["memory_store"]


def memory_store(*, pad: bool = False) -> strongroom.Strongroom:
    """Open an empty store in memory, as ``strongroom.open(":memory:")`` does. It needs no file, has an index key of its
    own, and ends when it is closed.

    >>> from strongroom.testing import memory_store
    >>> with memory_store() as store:
    ...     key = store.store("user:42:passport", b"scanned pages")
    ...     store.retrieve("user:42:passport", key)
    b'scanned pages'

    :param pad: Pad all records, as ``pad`` of :func:`strongroom.open`.
    """
    return strongroom.open(":memory:", pad=pad)
