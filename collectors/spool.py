"""What has been read and not yet stored, on disk: bounded, in order, safe against kill -9.

Append-only segment files of records: magic, length, CRC-32, payload.  `append` returns after
fsync; a record leaves when the caller says it is stored, and a segment when its last record has
left.  After a crash a segment begun is handed out again from its start: storing deduplicates.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import BinaryIO, NamedTuple

from prometheus_client import Gauge

log = logging.getLogger("nuan.spool")

RECORDS = Gauge("nuan_spool_records", "Batches on disk waiting for the database")
BYTES = Gauge("nuan_spool_bytes", "Bytes of the spool on disk")

MAGIC = b"NUS1"
HEADER = struct.Struct(">4sII")  # magic, length of the payload, its CRC-32
SEGMENT_BYTES = 1 << 20
MAX_RECORDS = 100_000


class SpoolInUse(Exception):
    """Another process already keeps its spool here."""


class _Place(NamedTuple):
    segment: Path
    offset: int  # of the payload
    length: int


class Spool:
    """A queue of byte records under `directory`, owned by one process; safe between threads."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        *,
        max_records: int = MAX_RECORDS,
        segment_bytes: int = SEGMENT_BYTES,
    ):
        self.directory, self.max_bytes, self.max_records = directory, max_bytes, max_records
        self.segment_bytes = segment_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._lock_file = _own(directory)
        self._guard = Lock()
        self._places: deque[_Place] = deque()
        self._sizes: dict[Path, int] = {}
        self._file: BinaryIO | None = None
        self._next_number = 1
        self._take_over()

    def _take_over(self) -> None:
        """Index what an earlier process left; what was torn is dropped and logged."""
        for path in sorted(self.directory.glob("*.spool")):
            self._next_number = int(path.stem) + 1
            places = list(_scan(path))
            if places:
                self._places.extend(places)
                self._sizes[path] = path.stat().st_size
            else:
                path.unlink()
        if self._places:
            log.info("batches of an earlier run wait", extra={"records": len(self._places)})
        self._measure()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size_bytes(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    def append(self, payload: bytes) -> bool:
        """Keep a record; False where there is no room, or the disk refuses."""
        record = HEADER.pack(MAGIC, len(payload), zlib.crc32(payload)) + payload
        with self._guard:
            full = len(self._places) >= self.max_records
            if full or self.size_bytes + len(record) > self.max_bytes:
                return False
            try:
                self._write(record)
            except OSError as error:
                log.error("the spool cannot be written", extra={"why": str(error)})
                self._end_segment()  # whatever is torn there is passed over; go on in a new one
                return False
            self._measure()
            return True

    def _write(self, record: bytes) -> None:
        file = self._file or self._begin_segment()
        path = Path(file.name)
        offset = self._sizes[path]
        file.write(record)
        os.fsync(file.fileno())
        self._sizes[path] = offset + len(record)
        self._places.append(_Place(path, offset + HEADER.size, len(record) - HEADER.size))
        if self._sizes[path] >= self.segment_bytes:
            self._end_segment()

    def _begin_segment(self) -> BinaryIO:
        path = self.directory / f"{self._next_number:012d}.spool"
        self._next_number += 1
        self._file = path.open("xb", buffering=0)
        self._sizes[path] = 0
        _sync_directory(self.directory)
        return self._file

    def _end_segment(self) -> None:
        if self._file is None:
            return
        path = Path(self._file.name)
        self._file.close()
        self._file = None
        if not any(place.segment == path for place in self._places):
            self._drop(path)

    def first(self) -> bytes | None:
        """The oldest record; None where none waits.  It stays until `done`."""
        with self._guard:
            if not self._places:
                return None
            place = self._places[0]
        with place.segment.open("rb") as file:
            file.seek(place.offset)
            return file.read(place.length)

    def done(self) -> None:
        """The oldest record is stored: it may go."""
        with self._guard:
            path = self._places.popleft().segment
            if not self._places or self._places[0].segment != path:
                if self._file is not None and self._file.name == str(path):
                    self._end_segment()
                else:
                    self._drop(path)
            self._measure()

    def _drop(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._sizes.pop(path, None)

    def _measure(self) -> None:
        RECORDS.set(len(self._places))
        BYTES.set(self.size_bytes)

    def close(self) -> None:
        """Leave the directory to the next process; what waits stays on disk."""
        with self._guard:
            self._end_segment()
            self._lock_file.close()


def _own(directory: Path) -> BinaryIO:
    file = (directory / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise SpoolInUse(f"another collector keeps its readings in {directory}") from None
    return file


def _sync_directory(directory: Path) -> None:
    """A new file's name is on disk only when its directory is."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _scan(path: Path) -> Iterator[_Place]:
    """The sound records of a segment; what is torn or broken is passed over and logged."""
    data = path.read_bytes()
    at, lost = 0, 0
    while at < len(data):
        length = _sound(data, at)
        if length is not None:
            yield _Place(path, at + HEADER.size, length)
            at += HEADER.size + length
            continue
        found = data.find(MAGIC, at + 1)
        end = found if found >= 0 else len(data)
        lost, at = lost + end - at, end
    if lost:
        log.warning("a torn record is dropped", extra={"file": path.name, "bytes": lost})


def _sound(data: bytes, at: int) -> int | None:
    """The payload's length where a whole record with the right CRC stands at `at`."""
    if len(data) - at < HEADER.size:
        return None
    magic, length, crc = HEADER.unpack_from(data, at)
    begin = at + HEADER.size
    whole = magic == MAGIC and begin + length <= len(data)
    return length if whole and zlib.crc32(data[begin : begin + length]) == crc else None
