-- The dead letters that are known to be in their queue, which is the truth: this is only for counting, and is made anew from it.
CREATE TABLE letters (
    letter_id text COLLATE "C" PRIMARY KEY,
    reason text COLLATE "C" NOT NULL, -- failure-reason
    at bigint NOT NULL -- when it was written, in microseconds since 1970
);

CREATE INDEX letters_by_reason ON letters (reason, at);
