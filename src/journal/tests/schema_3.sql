-- A journal of schema 3, as its first build made it. Never edit it: add a file for each later schema.
PRAGMA page_size = 512;
PRAGMA auto_vacuum = incremental;
PRAGMA journal_mode = wal;
CREATE TABLE epoch (
  number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, machine TEXT NOT NULL, created_at INTEGER NOT NULL,
  next_seq INTEGER NOT NULL, removed INTEGER NOT NULL, unsent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE record (
  row INTEGER PRIMARY KEY, epoch BLOB NOT NULL, id BLOB NOT NULL UNIQUE, raw_scan BLOB,
  scan BLOB, cause TEXT, previous_reason TEXT,
  at INTEGER NOT NULL, clock_synced INTEGER NOT NULL, lane TEXT NOT NULL, scanner TEXT NOT NULL,
  serial TEXT, asked TEXT NOT NULL, raw TEXT, reason TEXT NOT NULL, message TEXT NOT NULL, action TEXT NOT NULL,
  grade TEXT, model TEXT, family TEXT, assigned_at TEXT, took_ms INTEGER NOT NULL, lamp TEXT NOT NULL,
  previous BLOB, grouped BLOB, policy TEXT NOT NULL, evidence TEXT NOT NULL,
  delivered_at INTEGER, aside TEXT
) STRICT;
CREATE INDEX record_outbox ON record(aside) WHERE delivered_at IS NULL;
CREATE INDEX record_raw ON record(at) WHERE raw IS NOT NULL;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE dropped (epoch BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
CREATE TABLE salvage (
  number INTEGER PRIMARY KEY, at INTEGER NOT NULL, file TEXT, cause TEXT NOT NULL,
  saved INTEGER NOT NULL, lost INTEGER, done_at INTEGER
) STRICT;
CREATE TABLE probe (page BLOB) STRICT;
CREATE INDEX record_serial ON record(row >> 14, serial) WHERE serial IS NOT NULL;
CREATE INDEX record_aside ON record(row) WHERE aside IS NOT NULL;
CREATE INDEX record_unready ON record(clock_synced, at) WHERE serial IS NOT NULL AND reason <> 'assigned';
CREATE TRIGGER record_inserted AFTER INSERT ON record WHEN new.delivered_at IS NULL AND new.aside IS NULL BEGIN
  UPDATE epoch SET unsent = unsent + 1 WHERE number = new.row >> 40;
END;
CREATE TRIGGER record_deleted AFTER DELETE ON record WHEN old.delivered_at IS NULL AND old.aside IS NULL BEGIN
  UPDATE epoch SET unsent = unsent - 1 WHERE number = old.row >> 40;
END;
CREATE TRIGGER record_updated AFTER UPDATE OF row, delivered_at, aside ON record BEGIN
  UPDATE epoch SET unsent = unsent - 1 WHERE number = old.row >> 40 AND old.delivered_at IS NULL AND old.aside IS NULL;
  UPDATE epoch SET unsent = unsent + 1 WHERE number = new.row >> 40 AND new.delivered_at IS NULL AND new.aside IS NULL;
END;
CREATE TABLE raw_scan (
  number INTEGER PRIMARY KEY, id BLOB NOT NULL, at INTEGER NOT NULL, scanner TEXT NOT NULL, lane TEXT NOT NULL,
  bytes BLOB, fate TEXT
) STRICT;
PRAGMA application_id = 1112296046;
PRAGMA user_version = 3;
INSERT INTO epoch VALUES (1, X'019a9f00000070008000000000000001', '@MACHINE@', 1767996000000000000, 3, 0, 0);
INSERT INTO record VALUES (1099511627777, X'019a9f00000070008000000000000001', X'019a9f00000070008000000000000101', NULL, NULL, NULL, NULL, 1767996070123456789, 1, 'left', 'left', 'C02XK0AAJG5H', 'C02XK0AAJG5H', NULL,
  'assigned', 'The enrollment profile is Assigned.', 'Power it on.', 'relayed', 'MacBook Air', 'Mac', '2026-01-09T22:01:10Z', 91, 'ready', NULL, NULL, '9f2c41d0',
  '[{"source":"kandji","kind":"kandji","serial":"C02XK0AAJG5H","says":"ready","grade":"relayed","known":true,"status":"assigned","as_of":"2026-01-09T22:05:00Z","took":[0,84000000]}]', 1767996071000000000, NULL);
INSERT INTO record VALUES (1099511627778, X'019a9f00000070008000000000000001', X'019a9f00000070008000000000000102', NULL, NULL, NULL, NULL, 1767996070123456789, 1, 'left', 'left', 'C02XK0AAJG5H', 'C02XK0AAJG5H', NULL,
  'assigned', 'The enrollment profile is Assigned.', 'Power it on.', 'relayed', 'MacBook Air', 'Mac', '2026-01-09T22:01:10Z', 91, 'ready', NULL, NULL, '9f2c41d0',
  '[{"source":"kandji","kind":"kandji","serial":"C02XK0AAJG5H","says":"ready","grade":"relayed","known":true,"status":"assigned","as_of":"2026-01-09T22:05:00Z","took":[0,84000000]}]', NULL, NULL);
INSERT INTO raw_scan (number, id, at, scanner, lane, bytes, fate) VALUES (513, X'019a9f00000070008000000000000201', 1767996080000000000, 'left', 'left', X'43303258', NULL);
INSERT INTO counter VALUES ('dropped', 7), ('interrupted', 1);
INSERT INTO dropped VALUES (X'019a9f00000070008000000000000001', 1, 7, 7, 1767996000000000000);
INSERT INTO salvage (at, file, cause, saved, lost, done_at) VALUES (1600000000000000000, NULL, 'another machine wrote it', 0, 0, 1600000000000000000);
