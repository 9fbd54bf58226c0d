-- The store as the first release of muster made it: frozen, for the tests of migrations.

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
    metrics VARCHAR NOT NULL,            -- JSON: list of {name, direction, low, high}
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

-- Every run's means. Unscored judgements are counted beside the mean, never in it.
CREATE VIEW leaderboard AS
SELECT r.run_id AS run, j.candidate, s.split, j.metric,
       count(j.score) AS n, count(*) - count(j.score) AS unscored, avg(j.score) AS mean
FROM judgements j
JOIN samples s ON s.run_id = j.run_id AND s.sample_id = j.sample_id
JOIN runs r ON r.run_id = j.run_id
GROUP BY r.run_id, r.started, j.candidate, s.split, j.metric
ORDER BY r.started DESC, r.run_id, s.split, j.metric, mean DESC NULLS LAST, j.candidate;

-- What is known of each candidate's answer to each sample: the judgement of the suite's newest run that has one.
CREATE VIEW latest_judgements AS
SELECT r.suite, j.run_id AS run, j.candidate, j.sample_id, j.metric, j.score, j.label, j.evidence, j.error_kind, j.error_message
FROM judgements j JOIN runs r ON r.run_id = j.run_id
QUALIFY row_number() OVER (
    PARTITION BY r.suite, j.candidate, j.sample_id, j.metric ORDER BY r.started DESC, j.run_id DESC, j.position DESC
) = 1;

INSERT INTO meta VALUES (1);
