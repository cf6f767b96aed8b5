-- What has left the journal. Times are Unix milliseconds, by the clock that ordered the entry.

-- One row per channel that was ever published to durably: its position outlives its messages.
CREATE TABLE channels (
    id             INTEGER PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    epoch          TEXT    NOT NULL,
    offset         INTEGER NOT NULL,
    removed_offset INTEGER NOT NULL,
    time_ms        INTEGER NOT NULL
) STRICT;

-- Publications of the channel's current epoch. A new epoch deletes those of the one before.
-- `form` is how the payload is written in JSON; publisher and tags are encoded as in the journal.
CREATE TABLE messages (
    channel_id INTEGER NOT NULL,
    offset     INTEGER NOT NULL,
    time_ms    INTEGER NOT NULL,
    form       INTEGER NOT NULL,
    payload    BLOB    NOT NULL,
    publisher  BLOB,
    tags       BLOB,
    PRIMARY KEY (channel_id, offset)
) STRICT, WITHOUT ROWID;

-- Idempotency keys of the last 15 minutes and where they were put.
CREATE TABLE keys (
    channel_id INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    offset     INTEGER NOT NULL,
    epoch      TEXT    NOT NULL,
    time_ms    INTEGER NOT NULL,
    PRIMARY KEY (channel_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_time ON keys (time_ms);

-- The last entry of each partition that is in here.
CREATE TABLE partitions (
    partition INTEGER PRIMARY KEY,
    sequence  INTEGER NOT NULL
) STRICT;

-- The last batch of the journal that is in here: changed in the transaction that writes the rows.
CREATE TABLE checkpoint (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    batch INTEGER NOT NULL
) STRICT;
INSERT INTO checkpoint (id, batch) VALUES (1, 0);
