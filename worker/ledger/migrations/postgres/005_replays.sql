-- Dead letters that a replay is about to publish, or has published without having taken them out yet.
CREATE TABLE replays (
    letter_id text COLLATE "C" PRIMARY KEY,
    replay_id text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL, -- of the event
    event_id text COLLATE "C" NOT NULL,
    after bigint NOT NULL, -- the newest line of history before it
    at double precision NOT NULL -- seconds since 1970
);
