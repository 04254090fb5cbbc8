-- The dead letters that are known to be in their queue, which is the truth: this is only for counting, and is made anew from it.
CREATE TABLE letters (
    letter_id TEXT PRIMARY KEY,
    reason TEXT NOT NULL, -- failure-reason
    at INTEGER NOT NULL -- when it was written, in microseconds since 1970
) WITHOUT ROWID;

CREATE INDEX letters_by_reason ON letters (reason, at);
