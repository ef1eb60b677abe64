/** Marks a SQLite file as headscope's ("hdsc"). */
export const APPLICATION_ID = 0x68647363;

/**
 * Statements that bring the tables from each version to the next; the version is their number (SQLite's user_version).
 * What has been released is never edited: add to the end.
 */
export const MIGRATIONS: readonly (readonly string[])[] = [
  [
    `CREATE TABLE jobs (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      kind TEXT NOT NULL,
      spec TEXT NOT NULL,
      status TEXT NOT NULL,
      progress TEXT,
      result TEXT,
      error TEXT,
      attempts INTEGER NOT NULL DEFAULT 0,
      cancel INTEGER NOT NULL DEFAULT 0,
      owner TEXT,
      heartbeat INTEGER,
      created TEXT NOT NULL,
      started TEXT,
      ended TEXT
    ) STRICT`,
    "CREATE INDEX jobs_by_status ON jobs (status, id)",
    `CREATE TABLE runs (
      key INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      task TEXT NOT NULL,
      status TEXT NOT NULL,
      step INTEGER NOT NULL DEFAULT 0,
      steps INTEGER NOT NULL,
      seed INTEGER NOT NULL,
      "group" TEXT NOT NULL,
      spec TEXT NOT NULL,
      error TEXT,
      job INTEGER REFERENCES jobs (id) ON DELETE SET NULL,
      created TEXT NOT NULL,
      updated TEXT NOT NULL
    ) STRICT`,
    'CREATE INDEX runs_by_group ON runs ("group")',
    "CREATE INDEX runs_by_job ON runs (job)",
    // A number is given once for ever, so that a removed run's name never means another run.
    "CREATE TABLE run_numbers (task TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "CREATE TABLE metric_names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    // value is NULL where a measurement was not a number.
    `CREATE TABLE metrics (
      run INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
      name INTEGER NOT NULL REFERENCES metric_names (id),
      step INTEGER NOT NULL,
      value REAL,
      PRIMARY KEY (run, name, step)
    ) STRICT, WITHOUT ROWID`,
    `CREATE TABLE checkpoints (
      run INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
      step INTEGER NOT NULL,
      file TEXT NOT NULL,
      bytes INTEGER NOT NULL,
      digest TEXT NOT NULL,
      PRIMARY KEY (run, step)
    ) STRICT, WITHOUT ROWID`,
  ],
  // Lists of jobs read no spec: it stands in a table of its own, and what the job is about beside the job.
  [
    `CREATE TABLE job_specs (
      job INTEGER PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
      spec TEXT NOT NULL
    ) STRICT`,
    "INSERT INTO job_specs (job, spec) SELECT id, spec FROM jobs",
    "ALTER TABLE jobs ADD COLUMN title TEXT",
    "ALTER TABLE jobs ADD COLUMN model TEXT",
    `UPDATE jobs SET
      model = CASE json_type(spec, '$.model') WHEN 'text' THEN substr(json_extract(spec, '$.model'), 1, 512) END,
      title = substr(coalesce(CASE kind
        WHEN 'train' THEN 'training ' || (SELECT group_concat(value, ', ') FROM json_each(spec, '$.runs'))
        WHEN 'probe' THEN (SELECT group_concat(value ->> '$.name', ', ') FROM json_each(spec, '$.probes'))
          || ' on ' || json_extract(spec, '$.model')
        WHEN 'history' THEN json_extract(spec, '$.probe') || ' over the checkpoints of ' || json_extract(spec, '$.run')
        WHEN 'needle' THEN 'needle questions to ' || json_extract(spec, '$.model')
        WHEN 'experiment' THEN 'experiment ' || json_extract(spec, '$.name') || ', ' || json_extract(spec, '$.preset')
        WHEN 'pull' THEN 'fetching ' || json_extract(spec, '$.model')
      END, kind), 1, 200)`,
    "ALTER TABLE jobs DROP COLUMN spec",
  ],
];
