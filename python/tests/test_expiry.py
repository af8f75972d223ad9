"""Records that expire."""

import asyncio
import io
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy
import pytest

import strongroom
from strongroom import Key, Strongroom, aio

DAY = timedelta(days=1)

Write = Callable[..., object]


@pytest.fixture
def writes(store: Strongroom) -> dict[str, Write]:
    """A call of each method that makes a version, for the expiry arguments. None writes under another's id."""
    return {
        "store": lambda **expiry: store.store("store", b"data", **expiry),
        "store under a key": lambda **expiry: store.store("under", b"data", key=Key.generate(), **expiry),
        "replace": lambda **expiry: store.replace("replace", store.store("replace", b"data"), b"new", **expiry),
        "store_many": lambda **expiry: store.store_many([("many 1", b"1"), ("many 2", b"2")], **expiry),
        "store_many under keys": lambda **expiry: store.store_many([("k", b"1")], keys=[Key.generate()], **expiry),
        "store_file": lambda **expiry: store.store_file("file", io.BytesIO(b"data"), **expiry),
        "replace_file": lambda **expiry: store.replace_file(
            "other file", store.store("other file", b"data"), io.BytesIO(b"new"), **expiry
        ),
        "create_record": lambda **expiry: store.create_record("record", **expiry).finish(),
        "replace_record": lambda **expiry: store.replace_record(
            "other record", store.store("other record", b"data"), **expiry
        ).finish(),
    }


@pytest.mark.parametrize(
    "expiry",
    [
        {"expires_at": time.time() + 3600},
        {"expires_at": int(time.time()) + 3600},
        {"expires_at": Fraction(int(time.time()) + 3600)},
        {"expires_at": numpy.int64(time.time() + 3600)},
        {"expires_in": numpy.float32(3600)},
        {"expires_at": 1e15},
        {"expires_at": datetime.now(UTC) + DAY},
        {"expires_at": datetime.now().astimezone() + DAY},
        {"expires_at": datetime.now(timezone(timedelta(hours=-11))) + DAY},
        {"expires_at": datetime.max.replace(tzinfo=UTC)},
        {"expires_in": 3600},
        {"expires_in": 3600.5},
        {"expires_in": 1e18},
        {"expires_in": DAY},
        {"expires_in": timedelta.max},
        {"expires_at": None, "expires_in": None},
        {"expires_at": datetime.now(UTC) + DAY, "expires_in": None},
    ],
)
def test_times_to_come(writes: dict[str, Write], store: Strongroom, expiry: dict[str, Any]) -> None:
    for write in writes.values():
        write(**expiry)
    assert store.stats().records == 10
    assert store.stats().expired == store.purge() == store.purge(5) == 0
    for id in ("store", "under", "replace", "many 1", "many 2", "file", "other file", "record", "other record"):
        assert id in store


class Broken(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        raise ZeroDivisionError("broken")

    tzname = dst = utcoffset  # type: ignore[assignment]


class Interrupted:
    def __float__(self) -> float:
        return 60.0

    def __lt__(self, other: object) -> bool:
        raise KeyboardInterrupt("stop")


PAST = "the expiry time is past"
INVALID = "is invalid: it is negative, too large or not a number"
NO_ZONE = r"expires_at has no time zone: use datetime\.now\(timezone\.utc\)"


@pytest.mark.parametrize(
    ("expiry", "error", "text"),
    [
        ({"expires_at": time.time() - 60}, strongroom.InvalidArgumentError, PAST),
        ({"expires_at": 0}, strongroom.InvalidArgumentError, PAST),
        ({"expires_at": True}, strongroom.InvalidArgumentError, PAST),
        ({"expires_at": datetime.now(UTC) - timedelta(seconds=2)}, strongroom.InvalidArgumentError, PAST),
        ({"expires_at": datetime(1969, 12, 31, tzinfo=UTC)}, strongroom.InvalidArgumentError, PAST),
        ({"expires_at": datetime.min.replace(tzinfo=UTC)}, strongroom.InvalidArgumentError, PAST),
        ({"expires_at": datetime.now() + DAY}, strongroom.InvalidArgumentError, NO_ZONE),
        ({"expires_at": datetime.max}, ValueError, NO_ZONE),
        ({"expires_at": datetime(2100, 1, 1, tzinfo=Broken())}, ZeroDivisionError, "broken"),
        ({"expires_at": -1}, strongroom.InvalidArgumentError, f"expires_at {INVALID}"),
        ({"expires_at": float("nan")}, strongroom.InvalidArgumentError, f"expires_at {INVALID}"),
        ({"expires_at": Decimal("nan")}, strongroom.InvalidArgumentError, f"expires_at {INVALID}"),
        ({"expires_at": float("inf")}, strongroom.InvalidArgumentError, f"expires_at {INVALID}"),
        ({"expires_at": float("-inf")}, strongroom.InvalidArgumentError, f"expires_at {INVALID}"),
        ({"expires_at": 2**63}, strongroom.InvalidArgumentError, f"expires_at {INVALID}"),
        ({"expires_at": 10**400}, strongroom.InvalidArgumentError, f"expires_at {INVALID}"),
        ({"expires_at": "tomorrow"}, TypeError, "a datetime or a number is needed, not 'str'"),
        ({"expires_at": DAY}, TypeError, "a datetime or a number is needed, not 'timedelta'"),
        ({"expires_at": date(2100, 1, 1)}, TypeError, "a datetime or a number is needed, not 'date'"),
        ({"expires_at": numpy.datetime64("2100-01-01", "ns")}, TypeError, "a number is needed, not 'datetime64'"),
        ({"expires_at": numpy.datetime64("2100-01-01", "s")}, TypeError, "a number is needed, not 'datetime64'"),
        ({"expires_in": 0}, strongroom.InvalidArgumentError, PAST),
        ({"expires_in": timedelta(0)}, strongroom.InvalidArgumentError, PAST),
        ({"expires_in": -1}, strongroom.InvalidArgumentError, f"expires_in {INVALID}"),
        ({"expires_in": -DAY}, strongroom.InvalidArgumentError, f"expires_in {INVALID}"),
        ({"expires_in": timedelta.min}, strongroom.InvalidArgumentError, f"expires_in {INVALID}"),
        ({"expires_in": float("nan")}, strongroom.InvalidArgumentError, f"expires_in {INVALID}"),
        ({"expires_in": Decimal("nan")}, strongroom.InvalidArgumentError, f"expires_in {INVALID}"),
        ({"expires_in": float("inf")}, strongroom.InvalidArgumentError, f"expires_in {INVALID}"),
        ({"expires_in": 2**64}, strongroom.InvalidArgumentError, f"expires_in {INVALID}"),
        ({"expires_in": 10**400}, strongroom.InvalidArgumentError, f"expires_in {INVALID}"),
        ({"expires_in": "60"}, TypeError, "a timedelta or a number is needed, not 'str'"),
        ({"expires_in": Interrupted()}, KeyboardInterrupt, "stop"),
        ({"expires_in": numpy.timedelta64(60, "ns")}, TypeError, "a number is needed, not 'timedelta64'"),
        ({"expires_in": numpy.timedelta64(60, "s")}, TypeError, "a number is needed, not 'timedelta64'"),
        ({"expires_in": numpy.array(60, "timedelta64[ns]")}, TypeError, "a number is needed, not 'ndarray'"),
        ({"expires_in": datetime.now(UTC)}, TypeError, "a timedelta or a number is needed, not 'datetime'"),
        ({"expires_at": 1e15, "expires_in": 60}, strongroom.InvalidArgumentError, "not both"),
    ],
)
def test_invalid_times(
    writes: dict[str, Write], store: Strongroom, expiry: dict[str, Any], error: type[BaseException], text: str
) -> None:
    for write in writes.values():
        with pytest.raises(error, match=text):
            write(**expiry)
    assert store.stats().records == 3, "only those to be replaced"


def test_expired_records(store: Strongroom) -> None:
    many = store.store_many([("many 1", b"1"), ("many 2", b"2")], expires_in=1)
    key = store.store("id", b"data", expires_in=timedelta(milliseconds=1))
    replaced = store.replace("replaced", store.store("replaced", b"data"), b"new", expires_at=time.time() + 1)
    lasting = store.replace("lasting", store.store("lasting", b"data", expires_in=60), b"new")
    file = store.store_file("file", io.BytesIO(b"data"), expires_in=1)
    record = store.create_record("record", expires_at=datetime.now(UTC) + timedelta(seconds=1)).finish()

    deadline = time.monotonic() + 60
    while store.stats().expired < 6:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert store.stats().records == 7
    keys = {"many 1": many[0], "many 2": many[1], "id": key, "replaced": replaced, "file": file, "record": record}
    for id, its in keys.items():
        calls: list[Callable[[str, Key], object]] = [
            store.retrieve,
            store.open_record,
            store.replace_record,
            lambda id, key: store.retrieve_range(id, key, 0, 1),
            lambda id, key: store.retrieve_into(id, key, bytearray(4)),
            lambda id, key: store.replace(id, key, b"new"),
            lambda id, key: store.replace_file(id, key, io.BytesIO(b"new")),
            lambda id, key: store.retrieve_many([(id, key)]),
        ]
        for call in calls:
            with pytest.raises(strongroom.ExpiredError):
                call(id, its)
            with pytest.raises(strongroom.WrongKeyError):  # not ExpiredError: that is only for the record's owner
                call(id, lasting)
        assert id not in store
    assert store.retrieve("lasting", lasting) == b"new"

    # The id is free, the record can still be removed, and the rest is purged.
    newer = store.store("id", b"newer")
    assert store.retrieve("id", newer) == b"newer"
    store.delete("many 1", many[0])
    assert store.erase("many 2")
    assert store.purge(0) == 0
    assert store.purge(2) == 2
    assert store.stats().expired == 1
    assert store.purge() == 1
    assert store.purge(limit=None) == 0
    assert store.stats().records == 2 and store.stats().expired == 0
    with pytest.raises(strongroom.NotFoundError):
        store.retrieve("record", record)


def test_a_repeated_write_keeps_the_time_of_the_first(store: Strongroom) -> None:
    key = Key.generate()
    store.store("id", b"data", key=key, expires_in=5)
    store.store("id", b"data", key=key, expires_in=DAY)
    deadline = time.monotonic() + 60
    while "id" in store:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    store.store("id", b"data", key=key, expires_in=DAY)  # the first one has expired
    assert store.retrieve("id", key) == b"data"


def test_limits_of_a_purge(store: Strongroom) -> None:
    assert store.purge(2**64) == store.purge(limit=2**100) == store.purge(True) == 0
    for negative in (-1, -(2**63), -(2**100)):
        with pytest.raises(strongroom.InvalidArgumentError, match="negative"):
            store.purge(negative)
    wrong: list[Any] = [1.5, "1", b"1", DAY]
    for limit in wrong:
        with pytest.raises(TypeError):
            store.purge(limit)


def test_stats_have_the_number_of_expired_records(store: Strongroom) -> None:
    assert repr(store.stats()) == "Stats(records=0, bytes=0, expired=0, free=0)"


def test_asyncio(path: Path) -> None:
    async def main() -> None:
        async with await aio.open(path) as store:
            at = datetime.now(UTC) + DAY
            key = await store.store("store", b"data", expires_in=60)
            await store.replace("store", key, b"new", expires_at=at)
            await store.store_many([("many", b"data")], expires_in=DAY)
            key = await store.store_file("file", io.BytesIO(b"data"), expires_at=at)
            await store.replace_file("file", key, io.BytesIO(b"new"), expires_in=60)
            async with await store.create_record("record", expires_at=time.time() + 60) as record:
                await record.write(b"data")
            async with await store.replace_record("record", record.key, expires_in=60) as record:
                await record.write(b"new")
            assert await store.retrieve("record", record.key) == b"new"
            assert (await store.stats()).expired == await store.purge() == await store.purge(1) == 0

            naive: dict[str, Any] = {"expires_at": datetime.now() + DAY}
            both: dict[str, Any] = {"expires_at": at, "expires_in": 60}
            for wrong in (naive, both):
                calls: list[Awaitable[object]] = [
                    store.store("new", b"data", **wrong),
                    store.replace("record", record.key, b"data", **wrong),
                    store.store_many([("new", b"data")], **wrong),
                    store.store_file("new", io.BytesIO(), **wrong),
                    store.replace_file("record", record.key, io.BytesIO(), **wrong),
                    store.create_record("new", **wrong),
                    store.replace_record("record", record.key, **wrong),
                ]
                for call in calls:
                    with pytest.raises(strongroom.InvalidArgumentError, match=r"no time zone|not both"):
                        await call

    asyncio.run(main())
