-- What has been done to this schema, so that an older worker can refuse a newer one.
CREATE TABLE migrations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    at REAL NOT NULL -- seconds since 1970
);

-- api_base and company_id (what the ledger is bound to); paused (JSON, while it is).
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Rows are never deleted: the newest id is also their number.
CREATE TABLE work_orders (
    id INTEGER PRIMARY KEY,
    external_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    record BLOB NOT NULL, -- JSON of the confirmed cells, the floor and what is owned
    task_id TEXT,
    doubt_until REAL NOT NULL DEFAULT 0, -- seconds since 1970; 0: no doubt
    UNIQUE (external_id, project_id) -- in this order, so that it also finds an external id without its project
);

CREATE INDEX work_orders_task ON work_orders (task_id) WHERE task_id IS NOT NULL;

CREATE INDEX work_orders_doubt ON work_orders (doubt_until) WHERE doubt_until > 0;

-- work_order and time are set when the history that told them is removed but the row must stay.
CREATE TABLE first_seen (
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    at INTEGER NOT NULL, -- microseconds since 1970
    work_order INTEGER,
    time TEXT,
    PRIMARY KEY (source, event_id)
) WITHOUT ROWID;

CREATE INDEX first_seen_kept ON first_seen (work_order) WHERE work_order IS NOT NULL;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    work_order INTEGER NOT NULL,
    at INTEGER NOT NULL, -- microseconds since 1970, like first_seen
    outcome TEXT NOT NULL,
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    time TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    detail TEXT NOT NULL,
    calls TEXT NOT NULL, -- JSON
    before TEXT NOT NULL -- JSON
);

CREATE INDEX history_of_work_order ON history (work_order);

CREATE INDEX history_by_age ON history (at, work_order);
