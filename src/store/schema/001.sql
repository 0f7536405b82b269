-- Instants are microseconds since 1970 (UTC). Machines are compared without case, as Windows compares computer names.
-- Columns named sealed hold ciphertext only.

CREATE TABLE setting (
    name   TEXT PRIMARY KEY,
    value  TEXT,
    sealed BLOB,
    CHECK ((value IS NULL) <> (sealed IS NULL))
) STRICT;

CREATE TABLE run (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    room             TEXT NOT NULL,
    image            TEXT NOT NULL,
    root             TEXT NOT NULL,
    asked_by         TEXT NOT NULL,
    profile_revision TEXT,
    plan             TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    expires_at       INTEGER NOT NULL,
    closed_at        INTEGER
) STRICT;

CREATE INDEX run_open ON run (id) WHERE closed_at IS NULL;

CREATE TABLE machine_run (
    run      INTEGER NOT NULL REFERENCES run (id),
    position INTEGER NOT NULL,
    machine  TEXT NOT NULL COLLATE NOCASE,
    mac      TEXT NOT NULL,
    plan     TEXT NOT NULL,
    state    TEXT NOT NULL,
    is_final INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    totals   TEXT,
    PRIMARY KEY (run, machine)
) STRICT;

CREATE UNIQUE INDEX machine_run_open ON machine_run (machine) WHERE is_final = 0;

CREATE TABLE machine_run_history (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    run     INTEGER NOT NULL,
    machine TEXT NOT NULL COLLATE NOCASE,
    epoch   INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    state   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    UNIQUE (run, machine, epoch),
    FOREIGN KEY (run, machine) REFERENCES machine_run (run, machine)
) STRICT;

CREATE TABLE half_written (
    machine TEXT PRIMARY KEY COLLATE NOCASE,
    run     INTEGER NOT NULL REFERENCES run (id),
    since   INTEGER NOT NULL
) STRICT;

CREATE TABLE session (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    run       INTEGER NOT NULL,
    machine   TEXT NOT NULL COLLATE NOCASE,
    epoch     INTEGER NOT NULL,
    token     BLOB NOT NULL UNIQUE,
    opened_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    standing  TEXT NOT NULL CHECK (standing IN ('live', 'held', 'void')),
    UNIQUE (run, machine, epoch),
    FOREIGN KEY (run, machine) REFERENCES machine_run (run, machine)
) STRICT;

CREATE TABLE hook_credential (
    run     INTEGER NOT NULL,
    machine TEXT NOT NULL COLLATE NOCASE,
    token   BLOB NOT NULL UNIQUE,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (run, machine),
    FOREIGN KEY (run, machine) REFERENCES machine_run (run, machine)
) STRICT;

CREATE TABLE hook_attempt (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    run         INTEGER NOT NULL,
    machine     TEXT NOT NULL COLLATE NOCASE,
    hook        INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    begun_at    INTEGER NOT NULL,
    finished_at INTEGER,
    result      TEXT,
    UNIQUE (run, machine, hook, number),
    CHECK ((finished_at IS NULL) = (result IS NULL)),
    FOREIGN KEY (run, machine) REFERENCES machine_run (run, machine)
) STRICT;

CREATE UNIQUE INDEX hook_attempt_open ON hook_attempt (run, machine, hook) WHERE finished_at IS NULL;

CREATE TABLE confirmation (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    machine       TEXT NOT NULL COLLATE NOCASE,
    activation_id TEXT NOT NULL,
    partial_key   TEXT NOT NULL,
    iid           TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('pending', 'known', 'stale')),
    sealed        BLOB,
    imports       INTEGER NOT NULL DEFAULT 0,
    stale_code    INTEGER,
    asked_at      INTEGER NOT NULL,
    imported_at   INTEGER,
    changed_at    INTEGER NOT NULL,
    UNIQUE (machine, activation_id, partial_key, iid),
    CHECK (state <> 'known' OR sealed IS NOT NULL)
) STRICT;

CREATE INDEX confirmation_iid ON confirmation (iid);

CREATE TABLE confirmation_history (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    confirmation INTEGER NOT NULL REFERENCES confirmation (id),
    at           INTEGER NOT NULL,
    state        TEXT NOT NULL,
    code         INTEGER
) STRICT;

CREATE TABLE ledger (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    key     TEXT NOT NULL,
    run     INTEGER REFERENCES run (id),
    machine TEXT NOT NULL COLLATE NOCASE,
    kind    TEXT NOT NULL CHECK (kind IN ('deposit', 'activate')),
    code    INTEGER,
    at      INTEGER NOT NULL
) STRICT;

CREATE INDEX ledger_key ON ledger (key);

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    who     TEXT NOT NULL,
    what    TEXT NOT NULL,
    machine TEXT COLLATE NOCASE
) STRICT;

CREATE TABLE unknown_machine (
    mac          TEXT PRIMARY KEY,
    uuid         TEXT,
    architecture TEXT NOT NULL,
    first_seen   INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    times        INTEGER NOT NULL
) STRICT;

CREATE INDEX unknown_machine_seen ON unknown_machine (last_seen);

CREATE TABLE intent (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    room        TEXT NOT NULL,
    selection   TEXT NOT NULL,
    asked_by    TEXT NOT NULL,
    asked_at    INTEGER NOT NULL,
    not_before  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    finished_at INTEGER,
    outcome     TEXT,
    CHECK ((finished_at IS NULL) = (outcome IS NULL))
) STRICT;

CREATE INDEX intent_open ON intent (not_before) WHERE finished_at IS NULL;
