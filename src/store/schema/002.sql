-- The ledger with reservations: what may be spent is entered before it is spent.
-- open: given out, not settled. unknown: nobody can say. Both count as spent.

CREATE TABLE ledger_with_reservations (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    key         TEXT NOT NULL,
    partial_key TEXT,
    run         INTEGER REFERENCES run (id),
    machine     TEXT NOT NULL COLLATE NOCASE,
    kind        TEXT NOT NULL CHECK (kind IN ('deposit', 'activate', 'confirmation-request')),
    iid         TEXT,
    state       TEXT NOT NULL CHECK (state IN ('open', 'unknown', 'succeeded', 'failed', 'refused')),
    code        INTEGER,
    refusal     TEXT,
    at          INTEGER NOT NULL,
    settled_at  INTEGER,
    -- The machine's last change when it was reserved: later ones tell whether the PC was re-cloned since.
    seen_change INTEGER NOT NULL DEFAULT 0,
    -- A person has looked after a request for a confirmation ID without an answer.
    looked_at   INTEGER,
    CHECK ((kind = 'confirmation-request') = (iid IS NOT NULL)),
    CHECK ((state = 'refused') = (refusal IS NOT NULL))
) STRICT;

INSERT INTO ledger_with_reservations (id, key, run, machine, kind, state, code, at)
SELECT id, key, run, machine, kind,
       CASE WHEN code = 0 THEN 'succeeded' WHEN code IS NOT NULL THEN 'failed' WHEN kind = 'deposit' THEN 'unknown' ELSE 'open' END,
       code, at
FROM ledger;

DROP TABLE ledger;
ALTER TABLE ledger_with_reservations RENAME TO ledger;

CREATE INDEX ledger_key ON ledger (key);
CREATE INDEX ledger_spend_key ON ledger (key) WHERE kind <> 'deposit';
CREATE INDEX ledger_spend_partial ON ledger (partial_key) WHERE kind <> 'deposit';
CREATE INDEX ledger_spend_machine ON ledger (machine) WHERE kind = 'activate';
CREATE INDEX ledger_iid ON ledger (iid) WHERE iid IS NOT NULL;

CREATE INDEX machine_run_history_machine ON machine_run_history (machine, id);

CREATE TABLE key_hold (
    key         TEXT PRIMARY KEY,
    partial_key TEXT NOT NULL,
    code        INTEGER NOT NULL,
    since       INTEGER NOT NULL,
    run         INTEGER REFERENCES run (id),
    machine     TEXT NOT NULL COLLATE NOCASE
) STRICT;

CREATE INDEX key_hold_partial ON key_hold (partial_key);
