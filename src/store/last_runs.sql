-- The last run that each session of the command line started.
CREATE TABLE cli_last_runs (
    backend   TEXT NOT NULL,
    key       TEXT NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (backend, key)
) STRICT, WITHOUT ROWID;
