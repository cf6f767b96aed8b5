-- Namespaces whose channels are durable, and since when. The empty name stands for channels without
-- a namespace. A row that goes and comes again has a higher generation: what was stored before it
-- may lack publications that were ordered in between, which nobody wrote down.
CREATE TABLE namespaces (
    name       TEXT    PRIMARY KEY,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The highest generation that was ever given. No row: the directory was never served with this
-- table, and generation 0 is that of everything in it.
CREATE TABLE generations (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    newest INTEGER NOT NULL
) STRICT;
