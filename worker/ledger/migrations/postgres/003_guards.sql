-- The events in the wait queues: written with each message that is put there, removed when the event is settled.
CREATE TABLE waiting (
    source text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    state text NOT NULL, -- missing or stale
    place text COLLATE "C" NOT NULL, -- the project's id, or the project as the event gives it
    external_id text COLLATE "C" NOT NULL,
    back_at bigint NOT NULL, -- when it leaves the wait queue, in microseconds since 1970
    aside text NOT NULL, -- JSON of the whole
    PRIMARY KEY (source, event_id)
);

CREATE INDEX waiting_kinds ON waiting (kind);

CREATE INDEX waiting_work_orders ON waiting (state, place, external_id);

CREATE INDEX waiting_back ON waiting (back_at);

-- The deactivations, deletions and clears of the last hour, each once however often it was tried.
CREATE TABLE harms (
    harm text COLLATE "C" PRIMARY KEY, -- project, externalId, what, stamp
    at double precision NOT NULL -- seconds since 1970
);

CREATE INDEX harms_by_age ON harms (at);

-- Each start of a worker; ended stays empty when it was killed, or fell.
CREATE TABLE runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    life bigint NOT NULL, -- the advisory lock that the worker holds as long as it lives
    started double precision NOT NULL, -- seconds since 1970
    ended double precision
);
