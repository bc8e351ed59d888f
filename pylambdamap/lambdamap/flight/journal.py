"""The journal of a map: an SQLite file with what its items have come to, so that the map can be resumed.

`lambdamap.flight.resume` writes and replays it while a map runs; this module is the file.

What is kept, and when
    ``chunks`` has one row per reply: the position of its first item, their number, the digests of the
    items, and the frame of the results as it came. A chunk whose function has run and failed has its
    error instead. Rows never overlap. ``begun`` has the chunks that were about to be sent, those of one
    transaction in a row, because they cost each chunk little that way. A chunk that is in ``begun`` and
    not in ``chunks`` may have run; opening the journal makes it a row of ``chunks`` that says so.

Order
    A chunk is in ``begun`` before it is sent, and a result is in ``chunks`` before it is returned: both
    wait for `Journal.commit`, of which there is one for all that waits. What a user was given is
    therefore never run again, and what may have run is never taken for what has not.

Against what
    ``kill -9`` and anything else that ends the process: write-ahead log, ``synchronous=NORMAL``. Not
    against power loss, after which the last transactions may be missing.

Who may use it
    One map at a time: an advisory lock on a byte that SQLite does not use, which the system drops with
    the process. Others may read meanwhile. A child of fork never writes to its parent's journal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lambdamap import errors
from lambdamap.shipping.canonical import SIZE

if TYPE_CHECKING:
    import sqlite3

__all__ = ["DONE", "FAILED", "MAYBE", "MIXED", "Journal", "Reader", "Row"]

# What a row's items have come to. MIXED: results with errors among them, as of on_error="return".
DONE, MIXED, FAILED, MAYBE = range(1, 5)

_APPLICATION: Final = 0x6C6D6A31  # "lmj1", in SQLite's header
_VERSION: Final = 1  # of the tables
_LOCK_AT: Final = 1 << 62  # beyond every page
_SPAN: Final = struct.Struct("<QI")  # first item, number of items; their digests follow
_PAGE: Final = 256  # rows read at once
_CHECKPOINT_PAGES: Final = 4000  # of the log, 16 MB, are copied into the file at once
_REMEDY: Final = "use another path, or delete the file"

_TABLES: Final = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE head (value TEXT NOT NULL);
CREATE TABLE chunks (
    first INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    state INTEGER NOT NULL,
    digests BLOB NOT NULL,
    worker_us INTEGER,
    frame,                      -- of DONE and MIXED: bytes, or text
    crc INTEGER,                -- CRC-32 of the frame
    source INTEGER,             -- the row that has the frame; NULL: this one
    start INTEGER,              -- number of results in the frame before this row's; NULL: 0
    error TEXT                  -- of FAILED: JSON
);
CREATE TABLE begun (id INTEGER PRIMARY KEY, spans BLOB NOT NULL);
"""
# Parts of the head whose values say nothing to a reader.
_DIGESTS: Final = {
    "arguments": "the arguments of its partial",
    "body": "the code and captured values of its lambda",
    "client_context": "the client contexts",
}
_COLUMNS: Final = "first, count, state, digests, worker_us, source, start, error"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What some items in a row have come to; see the table ``chunks``."""

    first: int
    count: int
    state: int
    digests: bytes
    worker_us: int
    source: int  # first item of the row that has the frame
    start: int
    error: str | None

    @property
    def end(self) -> int:
        return self.first + self.count

    def digest(self, position: int) -> bytes:
        at = (position - self.first) * SIZE
        return self.digests[at : at + SIZE]


def _row(first: int, count: int, state: int, digests: bytes, *rest: Any) -> Row:
    worker_us, source, start, error = rest
    return Row(
        first, count, state, digests, worker_us or 0, first if source is None else source, start or 0, error
    )  # fmt: skip


def _sqlite() -> Any:
    try:
        import sqlite3
    except ImportError as error:
        raise errors.ConfigError(
            f"journal needs Python's module sqlite3, which does not load here ({error})"
        ) from error
    return sqlite3


_open: set[tuple[int, int]] = set()  # device and inode of the journals that this process has open
os.register_at_fork(after_in_child=_open.clear)


class Reader:
    """A journal that is only read, also while a map writes it.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ConfigError
        It cannot be read, or is not a journal.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        if not os.path.exists(path):
            raise self._unusable("does not exist", "give the path of a journal")
        with self._usable():
            self._db = _sqlite().connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
            self._check_kind()
            if not self._one("PRAGMA application_id"):
                raise self._unusable("is empty", "give the path of a journal")

    def _unusable(self, why: str, remedy: str = _REMEDY) -> errors.ConfigError:
        return errors.ConfigError(f"journal {self._path!r} {why}; {remedy}")

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        """Turn SQLite's errors, and those of what a damaged file has in it, into ConfigError."""
        error_type: type[sqlite3.Error] = _sqlite().Error
        try:
            yield
        except error_type as error:
            said = str(error)
            if "not a database" in said:
                said = "it is not an SQLite database"
            raise self._unusable(f"cannot be used: {said}") from error
        except (json.JSONDecodeError, UnicodeDecodeError, struct.error) as error:
            raise self._unusable(f"cannot be used: it is damaged ({error})") from error

    def _check_kind(self) -> None:
        application = self._one("PRAGMA application_id")
        tables = self._one("SELECT count(*) FROM sqlite_master")
        if application != _APPLICATION and (application or tables):
            raise self._unusable("is an SQLite database of something else")
        version = self._one("PRAGMA user_version")
        if application and version != _VERSION:
            raise self._unusable(f"has version {version}, this release of lambdamap has {_VERSION}")

    def _one(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]

    @property
    def head(self) -> dict[str, Any]:
        """What the map is; see `Journal`."""
        with self._usable():
            row = self._db.execute("SELECT value FROM head").fetchone()
            found = json.loads(row[0]) if row and isinstance(row[0], str) else None
        if not isinstance(found, dict):
            raise self._unusable("cannot be used: it is damaged")
        return found

    def counts(self) -> dict[int, int]:
        """Return the number of items by state."""
        with self._usable():
            return dict(self._db.execute("SELECT state, sum(count) FROM chunks GROUP BY state"))

    def rows(self, position: int) -> list[Row]:
        """Return the next rows, in order, of those that end after a position."""
        with self._usable():
            found = self._db.execute(
                f"SELECT {_COLUMNS} FROM chunks WHERE first + count > ?1 AND first >= "
                "(SELECT coalesce(max(first), 0) FROM chunks WHERE first <= ?1) "
                f"ORDER BY first LIMIT {_PAGE}",
                (position,),
            )
            return [_row(*values) for values in found]

    def frame(self, source: int) -> bytes | str | None:
        """Return the frame of results that a row has, as it came."""
        with self._usable():
            found = self._db.execute(
                "SELECT frame, crc FROM chunks WHERE first = ?", (source,)
            ).fetchone()
        if found is None:
            return None
        frame: bytes | str | None = found[0]
        if _crc(frame) != found[1]:
            raise self._unusable("cannot be used: it is damaged")
        return frame

    def unsettled(self) -> list[Row]:
        """Return rows of what has begun and has no outcome, in order."""
        found = []
        for (blob,) in self._db.execute("SELECT spans FROM begun").fetchall():
            for first, count, digests in _spans(blob):
                at = first
                settled = self._db.execute(
                    "SELECT first, count FROM chunks WHERE first >= ? AND first < ? ORDER BY first",
                    (first, first + count),
                ).fetchall()
                for start, length in (*settled, (first + count, 0)):
                    if start > at:
                        part = digests[(at - first) * SIZE : (start - first) * SIZE]
                        found.append(_row(at, start - at, MAYBE, part, None, None, None, None))
                    at = start + length
        return sorted(found, key=lambda row: row.first)

    def close(self) -> None:
        self._db.close()


class Journal(Reader):
    """An open journal, for one map. For one thread at a time.

    Parameters
    ----------
    path
        The file; created if it does not exist.
    head
        What the map is: names and values that must be those that the journal was made with. ``code``
        is the digest of the function's source.
    strict
        Changed source is an error, not a warning.

    Raises
    ------
    ConfigError
        The file cannot be opened, is in use, or is the journal of another map.
    """

    def __init__(self, path: str, head: Mapping[str, object], strict: bool = False) -> None:
        self._path = path
        self._pid = os.getpid()
        # By first item: row of begun, number of items and digests of what was sent, and of what was
        # lost: it stays in begun.
        self._begun: dict[int, tuple[int, int, bytes]] = {}
        self._lost: dict[int, tuple[int, int, bytes]] = {}
        self._next = 1  # the next row of begun
        self._spans: list[bytes] = []  # its chunks
        self._left: dict[int, int] = {}  # number of chunks by row of begun
        self._rewrite: set[int] = set()  # rows of begun that have changed
        self._gone: list[tuple[int]] = []  # and that are no longer needed
        self._new: list[tuple[object, ...]] = []  # rows of chunks
        self._cut: list[tuple[int, int]] = []  # first item and number of items of chunks run again
        self.pending = False  # whether there is something to commit
        self.broken = False  # it could not be written, and is left as it is
        sqlite = _sqlite()
        self._error: type[sqlite3.Error] = sqlite.Error
        self._fd = self._opened()
        try:
            with self._usable():
                self._db = sqlite.connect(
                    path, isolation_level=None, check_same_thread=False, timeout=1.0
                )
                self._lock()
                self._check(head, strict)
                self._recover()
        except BaseException:
            self.close()
            raise

    # --- opening --------------------------------------------------------------------------------

    def _in_use(self) -> errors.ConfigError:
        return errors.ConfigError(
            f"journal {self._path!r} is in use by another map: use another path, or wait until that map "
            "has ended"
        )

    def _opened(self) -> int:
        try:
            with contextlib.suppress(FileNotFoundError):
                # Not opened again: closing any descriptor of a file drops the process's locks on it.
                if _key(os.stat(self._path)) in _open:
                    raise self._in_use()
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._unusable(f"cannot be opened: {error.strerror}") from error
        self._key = _key(os.fstat(fd))
        _open.add(self._key)
        return fd

    def _lock(self) -> None:
        """Lock the file, once SQLite keeps a lock of its own: giving up its last one drops all."""
        self._check_kind()
        if self._one("PRAGMA journal_mode = WAL") != "wal":
            raise self._unusable("is on a file system without what SQLite's write-ahead log needs")
        self._one("SELECT count(*) FROM sqlite_master")
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCK_AT)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise self._in_use() from None
            raise self._unusable(f"cannot be locked: {error.strerror}") from error

    def _check(self, head: Mapping[str, object], strict: bool) -> None:
        """Compare the file's head with the map's; create the tables in an empty file."""
        if not self._one("PRAGMA application_id"):
            self._db.executescript(_TABLES)
            self._db.execute("INSERT INTO head VALUES (?)", (json.dumps(head),))
            self._db.execute("COMMIT")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        before = self.head
        for name, value in head.items():
            was = before.get(name)
            if was == value:
                continue
            if name == "code":
                text = f"the source of {head['function']} has changed since"
                if strict:
                    raise self._unusable(f"was made with other code: {text}")
                errors.warn(
                    f"journal {self._path!r}: {text}; results in it come from the old code. "
                    "journal_strict=True makes this an error",
                    errors.StaleCodeWarning,
                )
            elif name in _DIGESTS:
                raise self._unusable(f"is that of another map: {_DIGESTS[name]} differ")
            else:
                raise self._unusable(f"is that of another map: {name} was {was!r} and is {value!r}")

    def _recover(self) -> None:
        """Make a row of what had begun and has no outcome."""
        rows = [(row.first, row.count, row.state, row.digests) for row in self.unsettled()]
        with self._transaction():
            self._db.executemany(
                "INSERT INTO chunks (first, count, state, digests) VALUES (?, ?, ?, ?)", rows
            )
            self._db.execute("DELETE FROM begun")

    # --- writing --------------------------------------------------------------------------------

    def begin(self, first: int, count: int, digests: bytes, again: bool = False) -> None:
        """Note that a chunk is about to be sent. again: in place of the start of the row that covers it."""
        if again:
            self._cut.append((first, count))
            self._rewrite.update(self._left)  # its row in chunks no longer says that it is settled
        row = self._next
        self._begun[first] = (row, count, digests)
        self._left[row] = self._left.get(row, 0) + 1
        self._spans += _SPAN.pack(first, count), digests
        self.pending = True

    def finish(self, first: int, frame: object, worker_us: int, mixed: bool) -> None:
        """Note the results of a whole chunk."""
        row, count, digests = self._begun.pop(first)
        state = MIXED if mixed else DONE
        self._new.append((first, count, state, digests, worker_us, frame, _crc(frame), None))
        self._over(row)

    def _over(self, row: int) -> None:
        """Note that a chunk of a row of begun is settled; the row goes with its last one."""
        self._left[row] -= 1
        if not self._left[row]:
            del self._left[row]
            self._rewrite.discard(row)
            self._gone.append((row,))
        self.pending = True

    def settle(
        self,
        first: int,
        *,
        done: int = 0,
        frame: object = None,
        worker_us: int = 0,
        mixed: bool = False,
        failed: int = 0,
        error: str | None = None,
        maybe: bool = False,
    ) -> bytes:
        """Note what a chunk has come to.

        Parameters
        ----------
        first
            Its first item.
        done, frame, worker_us, mixed
            The number of items with results, from the first, with the results.
        failed, error
            The number of items after these for which f has run without a result, with the error.
        maybe
            f may have run for the rest; otherwise it has not.

        Returns
        -------
        bytes
            The digests of the items for which f has not run.
        """
        row, count, digests = self._begun.pop(first)
        at = done * SIZE
        if done:
            state = MIXED if mixed else DONE
            self._new.append(
                (first, done, state, digests[:at], worker_us, frame, _crc(frame), None)
            )
        if failed:
            part = digests[at : at + failed * SIZE]
            self._new.append((first + done, failed, FAILED, part, None, None, None, error))
        rest = first + done + failed
        left = digests[(done + failed) * SIZE :]
        if left:
            self._rewrite.add(row)
        if left and maybe:  # it stays in begun, and so does the row
            self._lost[rest] = (row, count - done - failed, left)
            self.pending = True
            return b""
        self._over(row)
        return left

    def split(self, row: Row, failed: Mapping[int, str]) -> None:
        """Replace a MIXED row by rows of results and of errors; failed: errors as JSON, by position."""
        frame = self.frame(row.source)
        parts: list[tuple[object, ...]] = []
        source: int | None = None  # the row that gets the frame
        at = row.first
        for position in (*sorted(failed), row.end):
            if position > at:
                digests = row.digests[(at - row.first) * SIZE : (position - row.first) * SIZE]
                start = row.start + at - row.first
                kept = frame if source is None else None
                us = row.worker_us * (position - at) // row.count
                parts.append(
                    (at, position - at, DONE, digests, us, kept, _crc(kept), source, start, None)
                )
                source = at if source is None else source
            if position < row.end:
                parts.append(
                    (
                        position,
                        1,
                        FAILED,
                        row.digest(position),
                        0,
                        None,
                        None,
                        None,
                        None,
                        failed[position],
                    )
                )
            at = position + 1
        with self._usable(), self._transaction():
            self._db.execute("DELETE FROM chunks WHERE first = ?", (row.first,))
            self._db.executemany(
                "INSERT INTO chunks (first, count, state, digests, worker_us, frame, crc, source, start, "
                "error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                parts,
            )

    def commit(self) -> None:
        """Write what is pending: when this returns, it outlives the process.

        Raises
        ------
        OSError
            It cannot be written, for example because the disk is full. The journal is left as it is
            from then on.
        """
        if not self.pending or self.broken or self._pid != os.getpid():
            return
        try:
            with self._transaction():
                self._write()
        except self._error as error:
            self.broken = True
            full = "full" in str(error)
            raise OSError(
                errno.ENOSPC if full else errno.EIO,
                f"the journal cannot be written ({error}); resume the map when it can be",
                self._path,
            ) from error
        self._cut.clear()
        self._new.clear()
        self._rewrite.clear()
        self._gone.clear()
        if self._spans:
            self._next += 1
            self._spans.clear()
        self.pending = False

    def _write(self) -> None:
        db = self._db
        for first, count in self._cut:
            db.execute("DELETE FROM chunks WHERE first = ? AND count <= ?", (first, count))
            db.execute(
                "UPDATE chunks SET first = first + ?2, count = count - ?2, "
                f"digests = substr(digests, 1 + ?2 * {SIZE}) WHERE first = ?1",
                (first, count),
            )
        # A Ctrl-C after the last commit may have it written again.
        db.executemany(
            "INSERT OR REPLACE INTO chunks (first, count, state, digests, worker_us, frame, crc, error) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self._new,
        )
        if self._spans:
            spans = b"".join(self._spans)
            db.execute("INSERT OR REPLACE INTO begun VALUES (?, ?)", (self._next, spans))
        if self._rewrite:
            blobs: dict[int, list[bytes]] = {row: [] for row in self._rewrite}
            for known in (self._begun, self._lost):
                for first, (row, count, digests) in known.items():
                    if row in blobs:
                        blobs[row] += _SPAN.pack(first, count), digests
            db.executemany(
                "INSERT OR REPLACE INTO begun VALUES (?, ?)",
                [(row, b"".join(parts)) for row, parts in blobs.items()],
            )
        db.executemany("DELETE FROM begun WHERE id = ?", self._gone)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(self._error):
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Write what is pending if that is possible, and close the file. Idempotent."""
        if self._fd < 0 or self._pid != os.getpid():  # a child of fork leaves it to its parent
            return
        with contextlib.suppress(OSError):
            self.commit()
        if (db := getattr(self, "_db", None)) is not None:
            with contextlib.suppress(self._error):
                db.close()
        os.close(self._fd)  # after SQLite's: this drops the lock
        self._fd = -1
        _open.discard(self._key)


def _crc(frame: Any) -> int | None:
    """Return the checksum of a frame, which SQLite has not."""
    return (
        None if frame is None else zlib.crc32(frame.encode() if isinstance(frame, str) else frame)
    )


def _key(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _spans(blob: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(blob):
        first, count = _SPAN.unpack_from(blob, at)
        at += _SPAN.size
        yield first, count, blob[at : at + count * SIZE]
        at += count * SIZE
