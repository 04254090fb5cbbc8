-- What has been done to this schema, so that an older worker can refuse a newer one.
CREATE TABLE migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    at double precision NOT NULL -- seconds since 1970
);

-- api_base and company_id (what the ledger is bound to); paused (JSON, while it is).
CREATE TABLE meta (
    key text PRIMARY KEY,
    value text NOT NULL
);

-- Names are compared byte by byte (collation C), whatever language the database is set to.
CREATE TABLE work_orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    external_id text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    record text NOT NULL DEFAULT '{}', -- JSON of the confirmed cells, the floor and what is owned
    task_id text COLLATE "C",
    doubt_until double precision NOT NULL DEFAULT 0, -- seconds since 1970; 0: no doubt
    parent text COLLATE "C", -- external id, where the events named it so
    parent_id text COLLATE "C", -- the task that Ditio is known to show it under
    marked boolean NOT NULL DEFAULT false, -- Ditio shows it as a parent because of a child
    caused bigint NOT NULL DEFAULT 0, -- how many causes there ever were to compare it with Ditio, and
    paid bigint NOT NULL DEFAULT 0, -- with how many of them it was; the rest is owed
    owed_at double precision NOT NULL DEFAULT 0, -- when that is due, seconds since 1970
    version bigint NOT NULL DEFAULT 1, -- grows with every commit: what was read before is then no longer so
    epoch bigint NOT NULL DEFAULT 0, -- the lock session that took it up last; 0: none yet
    UNIQUE (external_id, project_id) -- in this order, so that it also finds an external id without its project
);

CREATE INDEX work_orders_task ON work_orders (task_id) WHERE task_id IS NOT NULL;

CREATE INDEX work_orders_doubt ON work_orders (doubt_until) WHERE doubt_until > 0;

CREATE INDEX work_orders_parent ON work_orders (parent, project_id) WHERE parent IS NOT NULL;

CREATE INDEX work_orders_parent_id ON work_orders (parent_id) WHERE parent_id IS NOT NULL;

CREATE INDEX work_orders_owed ON work_orders (owed_at) WHERE caused > paid;

CREATE INDEX work_orders_project ON work_orders (project_id);

-- Every connection that holds locks has a number of its own.
CREATE SEQUENCE lock_sessions;

-- work_order and time are set when the history that told them is removed but the row must stay.
CREATE TABLE first_seen (
    source text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    at bigint NOT NULL, -- microseconds since 1970
    work_order bigint,
    time text,
    PRIMARY KEY (source, event_id)
);

CREATE INDEX first_seen_kept ON first_seen (work_order) WHERE work_order IS NOT NULL;

CREATE TABLE history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    work_order bigint NOT NULL,
    at bigint NOT NULL, -- microseconds since 1970, like first_seen
    outcome text NOT NULL,
    source text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    time text NOT NULL,
    first_seen bigint NOT NULL,
    detail text NOT NULL,
    calls text NOT NULL, -- JSON
    before text NOT NULL -- JSON
);

CREATE INDEX history_of_work_order ON history (work_order, id);

CREATE INDEX history_by_age ON history (at, work_order);
