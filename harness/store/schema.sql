-- The result store. Tables and columns carry the names of harness.records; big tables have no keys and no indexes (inserts are
-- eight times slower with them, and files five times larger): rows of a run are replaced as a whole, in one transaction.
-- JSON is kept as text; DuckDB reads it with ->>. A score that is missing is NULL, and then error_kind says why.

CREATE TABLE meta (schema_version INTEGER NOT NULL);

CREATE TABLE runs (
    run_id VARCHAR NOT NULL,
    key VARCHAR NOT NULL,
    suite VARCHAR NOT NULL,
    suite_version BIGINT NOT NULL,
    suite_sha VARCHAR NOT NULL,
    data_sha VARCHAR NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('running', 'complete', 'incomplete')),
    started VARCHAR NOT NULL,            -- ISO 8601, UTC
    finished VARCHAR,
    seconds DOUBLE NOT NULL,
    candidates VARCHAR NOT NULL,         -- JSON: name to content key
    metrics VARCHAR NOT NULL,            -- JSON: list of {name, direction, low, high, aggregate}; no high end: null
    judges VARCHAR NOT NULL,             -- JSON: metric to judge fingerprint
    record VARCHAR NOT NULL              -- JSON: resolved suite, environment, command, …
);

CREATE TABLE samples (
    run_id VARCHAR NOT NULL,
    position BIGINT NOT NULL,            -- order within the run
    sample_id VARCHAR NOT NULL,
    split VARCHAR NOT NULL,              -- a sample of two splits stands twice
    input VARCHAR NOT NULL,
    "references" VARCHAR NOT NULL,       -- JSON: list of texts
    contexts VARCHAR NOT NULL,           -- JSON: list of texts
    cluster VARCHAR,
    slices VARCHAR NOT NULL,             -- JSON: column to value
    row BIGINT NOT NULL,                 -- in the data file, from 1
    messages VARCHAR NOT NULL,           -- JSON: list of {role, content}
    columns VARCHAR NOT NULL             -- JSON: the whole row
);

CREATE TABLE answers (
    run_id VARCHAR NOT NULL,
    position BIGINT NOT NULL,
    candidate VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    key VARCHAR NOT NULL,                -- hash of all that decided the answer
    prompt_sha VARCHAR NOT NULL,
    prompt VARCHAR NOT NULL,             -- JSON: list of {role, content}; [] where it was not kept
    text VARCHAR,
    finish_reason VARCHAR,
    prompt_tokens BIGINT,
    completion_tokens BIGINT,
    seconds DOUBLE,
    contexts VARCHAR NOT NULL,           -- JSON: passages that retrieval put into the prompt
    error_kind VARCHAR,
    error_message VARCHAR,
    CHECK ((text IS NULL) = (error_kind IS NOT NULL))
);

CREATE TABLE judgements (
    run_id VARCHAR NOT NULL,
    position BIGINT NOT NULL,
    candidate VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    key VARCHAR NOT NULL,                -- hash of judge and judged content
    score DOUBLE CHECK (score IS NULL OR isfinite(score)),
    label VARCHAR,
    evidence VARCHAR NOT NULL,           -- JSON
    error_kind VARCHAR,
    error_message VARCHAR,
    CHECK ((score IS NULL) = (error_kind IS NOT NULL))
);

CREATE TABLE trainings (
    run_id VARCHAR NOT NULL,
    position BIGINT NOT NULL,
    key VARCHAR NOT NULL,
    candidate VARCHAR NOT NULL,
    base VARCHAR NOT NULL,
    base_fingerprint VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    rows BIGINT NOT NULL,
    steps BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    seconds DOUBLE NOT NULL,
    trainable_parameters BIGINT NOT NULL,
    total_parameters BIGINT NOT NULL,
    log VARCHAR NOT NULL,                -- JSON: one object a logged step
    record VARCHAR NOT NULL              -- JSON: what really ran
);

CREATE TABLE verdicts (
    run_id VARCHAR NOT NULL,
    position BIGINT NOT NULL,
    candidate VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL CHECK (outcome IN ('pass', 'fail', 'inconclusive', 'incomplete')),
    exit_status BIGINT NOT NULL,
    suite VARCHAR NOT NULL,
    suite_sha VARCHAR NOT NULL,
    baseline VARCHAR,
    confidence DOUBLE NOT NULL,
    findings VARCHAR NOT NULL            -- JSON: list of findings, one a rule
);

CREATE TABLE probes (                    -- what judges had asked of candidates beyond their answers
    run_id VARCHAR NOT NULL,
    position BIGINT NOT NULL,
    candidate VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    key VARCHAR NOT NULL,                -- hash of all that decided it
    kind VARCHAR NOT NULL CHECK (kind IN ('sample', 'likelihood')),
    number BIGINT NOT NULL,              -- which further answer, from 1; 0 for a likelihood
    text VARCHAR NOT NULL,               -- the answer drawn, or the text whose likelihood it is
    log_likelihood DOUBLE,
    tokens BIGINT,
    CHECK ((kind = 'likelihood') = (log_likelihood IS NOT NULL AND tokens IS NOT NULL))
);

CREATE TABLE repeats (                   -- further judgements of judged cases: how far a judge agrees with itself
    run_id VARCHAR NOT NULL,
    position BIGINT NOT NULL,
    candidate VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    number BIGINT NOT NULL,              -- from 1
    key VARCHAR NOT NULL,                -- hash of judge, case and number
    score DOUBLE CHECK (score IS NULL OR isfinite(score)),
    error_kind VARCHAR,
    error_message VARCHAR,
    CHECK ((score IS NULL) = (error_kind IS NOT NULL))
);

INSERT INTO meta VALUES (5);
