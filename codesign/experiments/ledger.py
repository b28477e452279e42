"""The ledger of a run: an SQLite database that survives being killed, and a journal from which it can be rebuilt.

Everything that was finished is in both: the database (write-ahead logging) is what is read, the journal is a line of
JSON per record. If the database is damaged, it is set aside and built anew from the journal. Both hold plain data only:
nothing in them is ever executed.

Tables: ``meta`` (experiment, environment), ``candidates`` (a design of a point: what it chose, its datasheet, status,
reason, objectives, area, and where networks are searched on it the front of accuracy and cost and how many were
judged), ``networks`` and ``layers`` (what a candidate costs on them, how accurate they are, and which they are where
that was searched), ``generations`` (candidates in the order of the proposals, rejected designs by reason, the
optimiser's state).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from codesign.experiments.candidates import Record

VERSION = 2
_DATABASE, _JOURNAL, _LOCK = "ledger.sqlite", "journal.jsonl", ".lock"
#: Results of SQLite that speak of the disk or of other processes, and not of what is in the file.
_NO_DAMAGE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_PERM,
)
_LEAST_FREE_BYTES = 2**16
#: What every run says of itself.
_META = ("version", "name", "digest", "experiment", "source", "environment", "points", "files")
_GOALS = {"edp": "edp_js", "energy": "energy_pj", "latency": "latency_s", "area": "area_mm2", "accuracy": "accuracy"}
#: How a journal begins.
_BEGINNING = b'["meta", '
#: The copy of the experiment in a run's folder.
EXPERIMENT = "experiment.yaml"
#: What a run keeps in its folder.
FILES = (EXPERIMENT, _JOURNAL, _LOCK, *(f"{_DATABASE}{suffix}" for suffix in ("", "-wal", "-shm")))
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE candidates (
  id INTEGER PRIMARY KEY, point INTEGER NOT NULL, digest TEXT NOT NULL, choices TEXT NOT NULL, datasheet TEXT NOT NULL,
  status TEXT NOT NULL, code TEXT, reason TEXT, edp_js REAL, energy_pj REAL, latency_s REAL, area_mm2 REAL,
  accuracy REAL, gap REAL, seconds REAL, attempts INTEGER NOT NULL, judged INTEGER, front TEXT, UNIQUE (point, digest));
CREATE TABLE networks (
  candidate INTEGER NOT NULL REFERENCES candidates (id), network TEXT NOT NULL, energy_pj REAL, latency_s REAL,
  latency_cycles INTEGER, edp_js REAL, utilisation REAL, macs INTEGER NOT NULL, accuracy REAL, accuracy_kind TEXT,
  uncertainty REAL, specification TEXT, PRIMARY KEY (candidate, network)) WITHOUT ROWID;
CREATE TABLE layers (
  candidate INTEGER NOT NULL REFERENCES candidates (id), position INTEGER NOT NULL, operator TEXT NOT NULL,
  energy_pj REAL NOT NULL, latency_cycles INTEGER NOT NULL, utilisation REAL NOT NULL, bottleneck TEXT NOT NULL,
  energy_breakdown_pj TEXT NOT NULL, mapping TEXT NOT NULL, bounds TEXT NOT NULL, gap REAL,
  PRIMARY KEY (candidate, position)) WITHOUT ROWID;
CREATE TABLE generations (
  point INTEGER NOT NULL, generation INTEGER NOT NULL, candidates TEXT NOT NULL, rejected TEXT NOT NULL,
  state TEXT NOT NULL, PRIMARY KEY (point, generation)) WITHOUT ROWID;
"""


class LedgerError(Exception):
    """A run folder that cannot be used; the message says why, and what to do."""


class Ledger:
    """The ledger in a run folder; one process at a time may write to it."""

    def __init__(self, folder: Path, *, create: Record | None = None, write: bool = True):
        """Open the ledger of a folder, or with ``create`` (the meta data of a new run) make one.

        Raises :class:`LedgerError` if there is none (or one already), if another run uses the folder, and if neither
        database nor journal can be read.
        """
        self.folder = folder
        self.repaired: str | None = None
        self._lock: IO[str] | None = None
        self._journal: IO[bytes] | None = None
        try:
            if create is not None:
                folder.mkdir(parents=True, exist_ok=True)
            elif not any((folder / name).exists() for name in (_DATABASE, _JOURNAL)):
                raise LedgerError(f"{folder}: there is no run in this folder")
            if write:
                self._take_lock()
            self._db = self._open() if create is None else self._begun({"version": VERSION, **create})
            if write:
                self._journal = (folder / _JOURNAL).open("ab", buffering=0)
                self._end_torn_line()
                self._agree()
        except OSError as error:
            self.close()
            hint = f"\nGo on with: codesign resume {folder}" if hasattr(self, "_db") else ""
            raise LedgerError(f"{error.filename or folder}: cannot be used: {error.strerror or error}{hint}") from None
        except sqlite3.OperationalError as error:
            self.close()
            raise LedgerError(f"{folder / _DATABASE}: cannot be used: {self._why(error)}") from None
        except LedgerError:
            self.close()
            raise

    def _take_lock(self) -> None:
        self._lock = (self.folder / _LOCK).open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerError(f"{self.folder}: another process is running this experiment right now") from None

    def _begun(self, meta: Record) -> sqlite3.Connection:
        """The database of a new run; what is left of one that was stopped before it began is overwritten."""
        path = self.folder / _DATABASE
        if next(self._journal_records(), None) is not None or (path.exists() and not _is_blank(path)):
            raise LedgerError(
                f"{self.folder}: there is a run in this folder already; continue it with: codesign resume {self.folder}"
            )
        self._keep_files_of_others(meta)
        for name in FILES:
            if name not in (_LOCK, EXPERIMENT):
                (self.folder / name).unlink(missing_ok=True)
        return self._new([("meta", meta)])

    def _keep_files_of_others(self, meta: Record) -> None:
        """Refuse a folder in which a run would write over what is not its own."""
        experiment, journal = self.folder / EXPERIMENT, self.folder / _JOURNAL
        foreign = None
        if experiment.exists() and experiment.read_bytes() != meta["experiment"].encode():
            foreign = experiment
        if journal.exists():
            with journal.open("rb") as file:
                start = file.read(len(_BEGINNING))
            if not _BEGINNING.startswith(start):
                foreign = journal
        if foreign is not None:
            raise LedgerError(f"{foreign}: would be overwritten by this run: move it, or give another folder (--out)")

    def _open(self) -> sqlite3.Connection:
        path = self.folder / _DATABASE
        try:
            if not path.exists():
                raise sqlite3.DatabaseError("it is missing")
            if _is_blank(path):
                if next(self._journal_records(), None) is None:
                    raise LedgerError(
                        f"{self.folder}: this run was stopped before it began; start it with codesign run"
                    )
                raise sqlite3.DatabaseError("it is empty")
            db = _connect(path)
            (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise sqlite3.DatabaseError(found)
            if "meta" in _columns(db):
                _require_version(path, dict(db.execute("SELECT key, value FROM meta")).get("version"))
            if _columns(db) != _columns(_empty()):
                raise sqlite3.DatabaseError("its tables are not those of a ledger")
            meta = dict(db.execute("SELECT key, value FROM meta"))
            _require_version(path, meta.get("version", "none"))
            missing = [key for key in _META if key not in meta]
            if missing:
                raise sqlite3.DatabaseError(f"it does not say {', '.join(missing)}")
            return db
        except sqlite3.DatabaseError as error:
            if _code(error) in _NO_DAMAGE:
                raise
            if self._lock is None:
                raise LedgerError(
                    f"{path} is damaged ({error}); codesign resume {self.folder} rebuilds it from the journal"
                ) from None
            return self._rebuilt(str(error))

    def _new(self, records: Iterable[tuple[str, Record]]) -> sqlite3.Connection:
        """A database with these records, or none: whatever happens, there never is half of one."""
        db = _connect(self.folder / _DATABASE)
        with db:
            db.executescript(f"BEGIN; {_SCHEMA}")
            for kind, record in records:
                _insert_if_sound(db, kind, record)
        return db

    def _rebuilt(self, what: str) -> sqlite3.Connection:
        """A database from the journal; the damaged one is kept beside it."""
        records = list(self._journal_records())
        begun = [record for kind, record in records if kind == "meta" and set(_META) <= set(record)]
        if not begun:
            raise LedgerError(f"{self.folder}: the ledger is damaged ({what}) and so is its journal")
        _require_version(self.folder / _JOURNAL, json.dumps(begun[0]["version"]))
        for suffix in ("", "-wal", "-shm"):
            damaged = self.folder / f"{_DATABASE}{suffix}"
            if damaged.exists() and damaged.stat().st_size:
                damaged.replace(self.folder / f"damaged-{_DATABASE}{suffix}")
        db = self._new(records)
        self.repaired = f"the ledger was damaged ({what}) and was rebuilt from the journal: {len(records)} records"
        return db

    def _agree(self) -> None:
        """Database and journal hold the same: what one of them lost is taken from the other."""
        written = set()
        before = self._db.total_changes
        with self._db:
            for kind, record in self._journal_records():
                if _insert_if_sound(self._db, kind, record):
                    written.add(_key(kind, record))
        gained = self._db.total_changes - before
        if gained and self.repaired is None:
            self.repaired = "the ledger had lost finished work, and took it from the journal"
        for kind, record in self._records():
            if _key(kind, record) not in written:
                self._append(kind, record)

    def _records(self) -> Iterator[tuple[str, Record]]:
        """Everything in the database, as the journal has it."""
        yield "meta", self.meta
        for point, digest in self._db.execute("SELECT point, digest FROM candidates ORDER BY id").fetchall():
            found = self.candidate(point, digest)
            kept = ("point", "digest", "choices", "datasheet", "seconds", "attempts")
            goals = {goal: found[column] for goal, column in _GOALS.items()}
            result = {key: found[key] for key in ("status", "code", "reason", "gap")}
            result["objectives"] = {goal: value for goal, value in goals.items() if value is not None}
            result["networks"] = {entry["network"]: entry for entry in found["networks"]}
            result["layers"] = found["layers"]
            result |= {key: found[key] for key in ("judged", "front") if found[key] is not None}
            yield "candidate", {**{key: found[key] for key in kept}, "result": result}
        rows = self._db.execute("SELECT point, generation, candidates, rejected, state FROM generations")
        for point, generation, *texts in rows.fetchall():
            values = dict(zip(("candidates", "rejected", "state"), map(json.loads, texts), strict=True))
            yield "generation", {"point": point, "generation": generation, **values}

    def _why(self, error: sqlite3.Error) -> str:
        """SQLite does not always say that the disk is full."""
        usage = os.statvfs(self.folder)
        full = _code(error) == sqlite3.SQLITE_FULL or usage.f_bavail * usage.f_frsize < _LEAST_FREE_BYTES
        return os.strerror(errno.ENOSPC) if full else str(error)

    def _journal_records(self) -> Iterator[tuple[str, Record]]:
        with contextlib.suppress(FileNotFoundError), (self.folder / _JOURNAL).open("rb") as file:
            for line in file:
                # A line that was being written when the process was killed has no end, or is no JSON.
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if line.endswith(b"\n") and isinstance(entry, list) and len(entry) == 2:
                        kind, record = entry
                        if isinstance(kind, str) and isinstance(record, dict):
                            yield kind, record

    def _end_torn_line(self) -> None:
        path = self.folder / _JOURNAL
        if path.stat().st_size:
            with path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            if torn:
                self._write(b"\n")

    def _write(self, data: bytes) -> None:
        assert self._journal is not None
        try:
            while data:
                # A disk that is nearly full takes a part, and says nothing.
                data = data[self._journal.write(data) :]
        except OSError as error:
            # Its file does not know its name.
            raise OSError(error.errno, error.strerror, str(self.folder / _JOURNAL)) from None

    def _append(self, kind: str, record: Record) -> None:
        self._write(json.dumps([kind, record]).encode() + b"\n")

    def _store(self, kind: str, record: Record) -> None:
        """Database first: what the journal has besides is never missing there."""
        try:
            with self._db:
                _insert(self._db, kind, record)
            self._append(kind, record)
        except (sqlite3.OperationalError, OSError) as error:
            path, why = (
                (error.filename, error.strerror)
                if isinstance(error, OSError)
                else (self.folder / _DATABASE, self._why(error))
            )
            raise LedgerError(
                f"{path}: cannot be written: {why}\n"
                f"nothing that was finished is lost. Go on with: codesign resume {self.folder}"
            ) from None

    def close(self) -> None:
        """Let others use the folder."""
        if hasattr(self, "_db"):
            self._db.close()
        for file in (self._journal, self._lock):
            if file:
                file.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    # --------------------------------------------------------------------------------------------------- the records

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """See one state of a run that is going on; raises :class:`LedgerError` if it cannot be read."""
        try:
            self._db.execute("BEGIN")
            yield
            self._db.rollback()
        except sqlite3.Error as error:
            raise LedgerError(f"{self.folder}: the ledger cannot be read: {error}") from None

    @property
    def meta(self) -> Record:
        """What describes the run."""
        return {key: json.loads(value) for key, value in self._db.execute("SELECT key, value FROM meta")}

    def add_candidate(
        self, point: int, digest: str, choices: Record, datasheet: Record, result: Record, seconds: float, attempts: int
    ) -> None:
        """Keep a finished candidate."""
        self._store(
            "candidate",
            {
                "point": point,
                "digest": digest,
                "choices": choices,
                "datasheet": datasheet,
                "result": result,
                "seconds": seconds,
                "attempts": attempts,
            },
        )

    def add_generation(
        self, point: int, generation: int, candidates: list[str], rejected: Record, state: Record
    ) -> None:
        """Keep a finished generation."""
        self._store(
            "generation",
            {"point": point, "generation": generation, "candidates": candidates, "rejected": rejected, "state": state},
        )

    def objectives(self, point: int) -> dict[str, Record]:
        """Status, reason and known objectives of every finished candidate of a point, by digest."""
        columns = ", ".join(("digest", "status", "code", "reason", *_GOALS.values()))
        rows = self._db.execute(f"SELECT {columns} FROM candidates WHERE point = ?", (point,))
        return {
            digest: {
                "status": status,
                "code": code,
                "reason": reason,
                "objectives": {goal: x for goal, x in zip(_GOALS, values, strict=True) if x is not None},
            }
            for digest, status, code, reason, *values in rows
        }

    def generations(self, point: int) -> dict[int, Record]:
        """The finished generations of a point."""
        rows = self._db.execute(
            "SELECT generation, candidates, rejected, state FROM generations WHERE point = ? ORDER BY generation",
            (point,),
        )
        return {
            generation: {
                "candidates": json.loads(candidates),
                "rejected": json.loads(rejected),
                "state": json.loads(state),
            }
            for generation, candidates, rejected, state in rows
        }

    def rows(self, table: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Columns and rows of a table, for export; in a fixed order."""
        if table not in ("candidates", "networks", "layers", "generations"):
            raise ValueError(f"no table {table!r}")
        cursor = self._db.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
        return [column[0] for column in cursor.description], cursor.fetchall()

    def candidate(self, point: int, digest: str) -> Record:
        """Everything about one candidate; KeyError if it is not there."""
        cursor = self._db.execute("SELECT * FROM candidates WHERE point = ? AND digest = ?", (point, digest))
        columns = [column[0] for column in cursor.description]
        row = cursor.fetchone()
        if row is None:
            raise KeyError(digest)
        found: Record = dict(zip(columns, row, strict=True))
        found["choices"], found["datasheet"] = json.loads(found["choices"]), json.loads(found["datasheet"])
        for table, key in (("networks", "network"), ("layers", "position")):
            cursor = self._db.execute(f"SELECT * FROM {table} WHERE candidate = ? ORDER BY {key}", (found["id"],))
            names = [column[0] for column in cursor.description]
            found[table] = [dict(zip(names, entry, strict=True)) for entry in cursor]
        found["front"] = None if found["front"] is None else json.loads(found["front"])
        for entry in found["networks"]:
            if entry["specification"] is not None:
                entry["specification"] = json.loads(entry["specification"])
        for layer in found["layers"]:
            layer["energy_breakdown_pj"] = json.loads(layer["energy_breakdown_pj"])
            layer["bounds"] = json.loads(layer["bounds"])
        return found


def _require_version(path: Path, found: str | None) -> None:
    """Refuse what another version has written, before anything of it is touched; None is not known."""
    if found is not None and found != str(VERSION):
        rule = f"version {VERSION} is read here (got {found})"
        raise LedgerError(f"{path}: was written by another version of the program: {rule}")


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary result code, if the error is SQLite's."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _is_blank(path: Path) -> bool:
    """Whether a database has no table yet; one that cannot be read is not blank."""
    with contextlib.closing(_opened(path)) as db:
        try:
            return db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        except sqlite3.DatabaseError as error:
            if _code(error) in _NO_DAMAGE:
                raise
            return False


def _opened(path: Path) -> sqlite3.Connection:
    if not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        # SQLite would make files beside it, and a medium that cannot be written has no other use for them either.
        return sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)
    return sqlite3.connect(path, timeout=30)


def _connect(path: Path) -> sqlite3.Connection:
    db = _opened(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _empty() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.executescript(_SCHEMA)
    return db


def _columns(db: sqlite3.Connection) -> dict[str, list[str]]:
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")] for name in sorted(tables)}


def _key(kind: str, record: Record) -> tuple[Any, ...]:
    """What identifies a record."""
    return (kind, *(record[key] for key in ("point", "digest", "generation") if kind != "meta" and key in record))


def _insert_if_sound(db: sqlite3.Connection, kind: str, record: Record) -> bool:
    """Insert a record of the journal, unless its line was damaged in a way that leaves it JSON."""
    db.execute("SAVEPOINT line")
    try:
        _insert(db, kind, record)
    except (KeyError, TypeError, AttributeError, ValueError, LedgerError, sqlite3.IntegrityError):
        db.execute("ROLLBACK TO line")
        return False
    finally:
        db.execute("RELEASE line")
    return True


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)


def _insert(db: sqlite3.Connection, kind: str, record: Record) -> None:
    if kind == "meta":
        values = [(key, json.dumps(value)) for key, value in record.items()]
        db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", values)
    elif kind == "generation":
        texts = [json.dumps(record[key]) for key in ("candidates", "rejected", "state")]
        db.execute(
            "INSERT OR IGNORE INTO generations VALUES (?, ?, ?, ?, ?)", (record["point"], record["generation"], *texts)
        )
    elif kind == "candidate":
        result = record["result"]
        goals = result.get("objectives", {})
        cursor = db.execute(
            "INSERT OR IGNORE INTO candidates VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record["point"],
                record["digest"],
                json.dumps(record["choices"]),
                json.dumps(record["datasheet"]),
                result["status"],
                result.get("code"),
                result.get("reason"),
                *(goals.get(goal) for goal in _GOALS),
                result.get("gap"),
                record["seconds"],
                record["attempts"],
                result.get("judged"),
                _json(result.get("front")),
            ),
        )
        if not cursor.rowcount:
            return
        key = cursor.lastrowid
        totals = ("energy_pj", "latency_s", "latency_cycles", "edp_js", "utilisation", "macs")
        more = ("accuracy", "accuracy_kind", "uncertainty")
        db.executemany(
            "INSERT INTO networks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    key,
                    name,
                    *(entry[c] for c in totals),
                    *(entry.get(c) for c in more),
                    _json(entry.get("specification")),
                )
                for name, entry in result.get("networks", {}).items()
            ],
        )
        plain = ("operator", "energy_pj", "latency_cycles", "utilisation", "bottleneck")
        db.executemany(
            "INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    key,
                    position,
                    *(layer[c] for c in plain),
                    json.dumps(layer["energy_breakdown_pj"]),
                    layer["mapping"],
                    json.dumps(layer["bounds"]),
                    layer["gap"],
                )
                for position, layer in enumerate(result.get("layers", ()))
            ],
        )
    else:
        raise LedgerError(f"unknown record {kind!r} in the journal")
