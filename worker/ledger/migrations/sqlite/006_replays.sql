-- Dead letters that a replay is about to publish, or has published without having taken them out yet.
CREATE TABLE replays (
    letter_id TEXT PRIMARY KEY,
    replay_id TEXT NOT NULL,
    source TEXT NOT NULL, -- of the event
    event_id TEXT NOT NULL,
    after INTEGER NOT NULL, -- the newest line of history before it
    at REAL NOT NULL -- seconds since 1970
) WITHOUT ROWID;
