-- A run, with everything that the list of runs shows.
CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    state       TEXT NOT NULL,
    created     REAL NOT NULL,
    started     REAL,
    finished    REAL,
    config      TEXT NOT NULL,              -- as its maker gave it: TOML, with names of data sets
    config_hash TEXT NOT NULL,
    preset      TEXT,
    facts       TEXT NOT NULL,              -- what its configuration comes to, JSON
    view        TEXT NOT NULL,              -- what its events came to, JSON
    place       INTEGER,                    -- in the queue
    slot        TEXT,                       -- the devices it holds, one a line; none without a process
    launched    REAL NOT NULL DEFAULT 0,    -- when its last process was started
    attempts    INTEGER NOT NULL DEFAULT 0, -- processes since its last checkpoint
    bytes       INTEGER NOT NULL DEFAULT 0, -- how much of its log is taken in
    outcome     TEXT,                       -- how its last process says it ended, JSON
    error       TEXT,
    labels      TEXT NOT NULL DEFAULT '{}'  -- what people write on it, JSON
) STRICT;

-- Everything that a stream of events replays, in one order over all runs.
CREATE TABLE log (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    run    TEXT NOT NULL,
    kind   TEXT NOT NULL,                   -- entry, run, removed, queue
    own    INTEGER NOT NULL DEFAULT -1,     -- number of the entry in the run's own log
    start  INTEGER NOT NULL DEFAULT 0,      -- where the entry's line lies in the run's own log
    length INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX log_of_run ON log (run, own);

-- Curves, in chunks of little-endian numbers: steps as u64, values as f64. What is read of many chunks stands before what is large.
CREATE TABLE chunks (
    run    TEXT NOT NULL,
    member TEXT NOT NULL,
    series TEXT NOT NULL,
    first  INTEGER NOT NULL,                -- step of its first point
    last   INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    brief  BLOB NOT NULL,                   -- its ends, extremes and a gap: steps, then values
    steps  BLOB NOT NULL,
    points BLOB NOT NULL,
    PRIMARY KEY (run, member, series, first)
) STRICT, WITHOUT ROWID;
