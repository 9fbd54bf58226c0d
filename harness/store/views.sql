-- The views, made anew whenever the store is made or brought up to date.

-- Every run's figures. Unscored judgements are counted beside the mean, never in it. `mean` is the mean of the scores (summed so
-- that the order of rows does not show), but for metrics that are no means: perplexity weighs by tokens; macro-F1 is the mean over
-- labels of the share of a label's mentions (as target or as prediction) that belong to right answers, which is its F1. Evidence,
-- most of what a store holds, is read for these alone, and for judges that score in several modes (by the run's record): scores of
-- different modes are different measures and have no mean; `modes` says which there are.
CREATE OR REPLACE VIEW leaderboard AS
WITH no_means AS (
    SELECT run_id, m ->> 'name' AS metric, m ->> 'aggregate' AS aggregate
    FROM (SELECT run_id, unnest(from_json(metrics, '["json"]')) AS m FROM runs)
    WHERE (m ->> 'aggregate') <> 'mean'
),
looked_into AS (
    FROM no_means
    UNION ALL
    SELECT run_id, metric, 'modes'
    FROM (
        SELECT run_id, unnest(json_keys(record, '$.judges')) AS metric, unnest(record -> '$.judges.*') AS judge FROM runs
    )
    WHERE (judge ->> 'kind') IN ('geval', 'pairwise')
),
counted AS (
    SELECT j.run_id AS run, j.candidate, s.split, j.metric,
           count(j.score) AS n, count(*) - count(j.score) AS unscored, favg(j.score) AS mean
    FROM judgements j JOIN samples s ON s.run_id = j.run_id AND s.sample_id = j.sample_id
    GROUP BY j.run_id, j.candidate, s.split, j.metric
),
judged AS (
    SELECT j.run_id AS run, j.candidate, s.split, j.metric, w.aggregate, j.evidence
    FROM judgements j
    JOIN looked_into w ON w.run_id = j.run_id AND w.metric = j.metric
    JOIN samples s ON s.run_id = j.run_id AND s.sample_id = j.sample_id
    WHERE j.score IS NOT NULL
),
mentions AS (
    SELECT run, candidate, split, metric, unnest([evidence ->> 'target', evidence ->> 'predicted']) AS label,
           (evidence ->> 'target') IS NOT DISTINCT FROM (evidence ->> 'predicted') AS is_right
    FROM judged WHERE aggregate = 'macro_f1'
),
labels AS (
    SELECT run, candidate, split, metric, label, avg(CAST(is_right AS INTEGER)) AS f1
    FROM mentions WHERE label IS NOT NULL GROUP BY ALL
),
modes AS (
    SELECT run, candidate, split, metric, list(DISTINCT evidence ->> 'mode') AS modes
    FROM judged WHERE aggregate = 'modes' AND (evidence ->> 'mode') IS NOT NULL GROUP BY ALL
),
figures AS (
    SELECT run, candidate, split, metric, avg(f1) AS figure FROM labels GROUP BY ALL
    UNION ALL
    SELECT run, candidate, split, metric,
           exp(-sum(CAST(evidence ->> 'log_likelihood' AS DOUBLE)) / sum(CAST(evidence ->> 'tokens' AS DOUBLE))) AS figure
    FROM judged WHERE aggregate = 'perplexity' GROUP BY ALL
)
SELECT c.run, c.candidate, c.split, c.metric, c.n, c.unscored,
       CASE WHEN len(o.modes) > 1 THEN NULL WHEN w.metric IS NULL THEN c.mean ELSE f.figure END AS mean,
       list_sort(o.modes) AS modes
FROM counted c
JOIN runs r ON r.run_id = c.run
LEFT JOIN no_means w ON w.run_id = c.run AND w.metric = c.metric
LEFT JOIN figures f ON f.run = c.run AND f.candidate = c.candidate AND f.split = c.split AND f.metric = c.metric
LEFT JOIN modes o ON o.run = c.run AND o.candidate = c.candidate AND o.split = c.split AND o.metric = c.metric
ORDER BY r.started DESC, c.run, c.split, c.metric, mean DESC NULLS LAST, c.candidate;

-- What is known of each candidate's answer to each sample: the judgement of the suite's newest run that has one.
CREATE OR REPLACE VIEW latest_judgements AS
SELECT r.suite, j.run_id AS run, j.candidate, j.sample_id, j.metric, j.score, j.label, j.evidence, j.error_kind, j.error_message
FROM judgements j JOIN runs r ON r.run_id = j.run_id
QUALIFY row_number() OVER (
    PARTITION BY r.suite, j.candidate, j.sample_id, j.metric ORDER BY r.started DESC, j.run_id DESC, j.position DESC
) = 1;

-- The log of each training behind a run's candidates, a row a figure: loss, learning_rate, validation_loss, validation_JUDGE …
CREATE OR REPLACE VIEW training_log AS
WITH entries AS (
    SELECT run_id AS run, candidate, unnest(from_json(log, '["json"]')) AS entry FROM trainings
),
named AS (SELECT run, candidate, entry, unnest(json_keys(entry)) AS series FROM entries)
SELECT run, candidate, series, CAST(entry ->> 'step' AS BIGINT) AS step, CAST(entry ->> series AS DOUBLE) AS value
FROM named WHERE series <> 'step'
ORDER BY run, candidate, series, step;

-- Every rule of every run's last gate, a row a finding.
CREATE OR REPLACE VIEW findings AS
WITH entries AS (
    SELECT v.run_id AS run, r.started, v.position, v.candidate, v.baseline, v.outcome AS verdict, v.confidence,
           unnest(from_json(v.findings, '["json"]')) AS f, generate_subscripts(from_json(v.findings, '["json"]'), 1) AS number
    FROM verdicts v JOIN runs r ON r.run_id = v.run_id
)
SELECT run, candidate, baseline, verdict, confidence, f ->> 'rule' AS rule, f ->> 'metric' AS metric, f ->> 'split' AS split,
       f ->> 'outcome' AS outcome, CAST(f ->> 'estimate' AS DOUBLE) AS estimate, CAST(f ->> 'low' AS DOUBLE) AS low,
       CAST(f ->> 'high' AS DOUBLE) AS high, CAST(f ->> 'threshold' AS DOUBLE) AS threshold, CAST(f ->> 'n' AS BIGINT) AS n,
       CAST(f ->> 'n_unscored' AS BIGINT) AS n_unscored, CAST(f ->> 'n_needed' AS BIGINT) AS n_needed, f ->> 'message' AS message
FROM entries
ORDER BY started DESC, run, position, number;
