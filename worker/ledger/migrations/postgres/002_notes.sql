-- A worker touches a message. Left standing, it says that the worker ended while it did.
CREATE TABLE notes (
    mark text COLLATE "C" NOT NULL, -- what the message is known by
    worker text COLLATE "C" NOT NULL, -- one process
    life bigint NOT NULL, -- the advisory lock that this process holds as long as it lives
    at double precision NOT NULL, -- seconds since 1970
    PRIMARY KEY (mark, worker)
);

-- Messages that used up their notes.
CREATE TABLE breakers (
    mark text COLLATE "C" PRIMARY KEY,
    condemned boolean NOT NULL, -- for good
    in_a_row boolean NOT NULL -- nothing was settled since
);

-- The workers that run, the last one that ended in order, and those that fell not long ago.
CREATE TABLE lives (
    life bigint PRIMARY KEY,
    ended double precision, -- in order; seconds since 1970, like
    fallen double precision -- when another worker found that it had not
);
