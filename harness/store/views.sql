-- The views, made anew whenever the store is made or brought up to date.

-- Every run's figures. Unscored judgements are counted beside the mean, never in it. `mean` is the mean of the scores, but for
-- metrics that are no means: perplexity weighs by tokens; macro-F1 is the mean over labels of the share of a label's mentions (as
-- target or as prediction) that belong to right answers, which is its F1.
CREATE OR REPLACE VIEW leaderboard AS
WITH scales AS (
    SELECT run_id, m ->> 'name' AS metric, coalesce(m ->> 'aggregate', 'mean') AS aggregate
    FROM (SELECT run_id, unnest(from_json(metrics, '["json"]')) AS m FROM runs)
),
judged AS (
    SELECT r.run_id AS run, r.started, j.candidate, s.split, j.metric, j.score, coalesce(c.aggregate, 'mean') AS aggregate,
           CASE WHEN c.aggregate <> 'mean' AND j.score IS NOT NULL THEN j.evidence END AS evidence
    FROM judgements j
    JOIN samples s ON s.run_id = j.run_id AND s.sample_id = j.sample_id
    JOIN runs r ON r.run_id = j.run_id
    LEFT JOIN scales c ON c.run_id = j.run_id AND c.metric = j.metric
),
mentions AS (
    SELECT run, candidate, split, metric, unnest([evidence ->> 'target', evidence ->> 'predicted']) AS label,
           (evidence ->> 'target') IS NOT DISTINCT FROM (evidence ->> 'predicted') AS is_right
    FROM judged WHERE aggregate = 'macro_f1' AND evidence IS NOT NULL
),
labels AS (
    SELECT run, candidate, split, metric, label, avg(CAST(is_right AS INTEGER)) AS f1
    FROM mentions WHERE label IS NOT NULL GROUP BY run, candidate, split, metric, label
),
macro AS (SELECT run, candidate, split, metric, avg(f1) AS f1 FROM labels GROUP BY run, candidate, split, metric)
SELECT run, candidate, split, metric, count(score) AS n, count(*) - count(score) AS unscored,
       CASE any_value(aggregate)
           WHEN 'perplexity' THEN exp(
               -sum(CAST(evidence ->> 'log_likelihood' AS DOUBLE)) / sum(CAST(evidence ->> 'tokens' AS DOUBLE))
           )
           WHEN 'macro_f1' THEN any_value(macro.f1)
           ELSE avg(score)
       END AS mean
FROM judged LEFT JOIN macro USING (run, candidate, split, metric)
GROUP BY run, started, candidate, split, metric
ORDER BY started DESC, run, split, metric, mean DESC NULLS LAST, candidate;

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
