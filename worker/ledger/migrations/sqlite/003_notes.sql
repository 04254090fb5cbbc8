-- A worker touches a message. Left standing, it says that the worker ended while it did.
CREATE TABLE notes (
    mark TEXT NOT NULL, -- what the message is known by
    worker TEXT NOT NULL, -- one process
    at REAL NOT NULL, -- seconds since 1970
    PRIMARY KEY (mark, worker)
) WITHOUT ROWID;

-- Messages that used up their notes.
CREATE TABLE breakers (
    mark TEXT PRIMARY KEY,
    condemned INTEGER NOT NULL, -- 1: for good
    in_a_row INTEGER NOT NULL -- 1: nothing was settled since
) WITHOUT ROWID;
