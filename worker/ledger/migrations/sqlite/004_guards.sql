-- The events in the wait queues: written with each message that is put there, removed when the event is settled.
CREATE TABLE waiting (
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL, -- missing or stale
    place TEXT NOT NULL, -- the project's id, or the project as the event gives it
    external_id TEXT NOT NULL,
    back_at INTEGER NOT NULL, -- when it leaves the wait queue, in microseconds since 1970
    aside BLOB NOT NULL, -- JSON of the whole
    PRIMARY KEY (source, event_id)
) WITHOUT ROWID;

CREATE INDEX waiting_kinds ON waiting (kind);

CREATE INDEX waiting_work_orders ON waiting (state, place, external_id);

CREATE INDEX waiting_back ON waiting (back_at);

-- The deactivations, deletions and clears of the last hour, each once however often it was tried.
CREATE TABLE harms (
    harm TEXT PRIMARY KEY, -- project, externalId, what, stamp
    at REAL NOT NULL -- seconds since 1970
) WITHOUT ROWID;

CREATE INDEX harms_by_age ON harms (at);

-- Each start of a worker; ended stays empty when it was killed, or fell.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started REAL NOT NULL, -- seconds since 1970
    ended REAL
);
