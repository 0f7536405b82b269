-- What the activation hook of one machine reported in one run, as far as KMS hosts care.

CREATE TABLE licensing_report (
    run      INTEGER NOT NULL,
    machine  TEXT NOT NULL COLLATE NOCASE,
    cmid     TEXT,
    at_kms   INTEGER NOT NULL CHECK (at_kms IN (0, 1)),
    standing TEXT NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (run, machine),
    FOREIGN KEY (run, machine) REFERENCES machine_run (run, machine)
) STRICT;

CREATE INDEX licensing_report_at ON licensing_report (at);
CREATE INDEX licensing_report_machine ON licensing_report (machine, at);

-- Runs for which the alarm about shared client machine IDs was raised.
CREATE TABLE shared_cmid_alarm (
    run INTEGER PRIMARY KEY REFERENCES run (id),
    at  INTEGER NOT NULL
) STRICT;
