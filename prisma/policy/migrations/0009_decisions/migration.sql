-- A sample of what was decided, for those whose rules decide it: who asked by what they hold, and
-- never which person. Kept for seven days.
CREATE TABLE policy_decisions (
  id uuid NOT NULL,
  at timestamptz(3) NOT NULL,
  organization_id uuid,
  kind text NOT NULL,
  roles text[] NOT NULL,
  -- Null: all of them were asked for at once, and `granted` says which were granted.
  action text,
  facts jsonb NOT NULL,
  is_granted boolean,
  basis text,
  granted text[],
  -- Those that depend on facts.
  dependent text[],
  -- Of `authz.roles`, and of `authz.rules` of the platform and of the organization.
  versions jsonb NOT NULL,
  -- How many alike this one stands for.
  weight integer NOT NULL,
  CONSTRAINT policy_decisions_pkey PRIMARY KEY (id),
  CONSTRAINT policy_decisions_kind CHECK (kind IN ('anonymous', 'person', 'api-key', 'service')),
  CONSTRAINT policy_decisions_one_or_all CHECK (
    (action IS NULL) = (is_granted IS NULL) AND (action IS NULL) = (basis IS NULL)
    AND (action IS NULL) = (granted IS NOT NULL) AND (action IS NULL) = (dependent IS NOT NULL)
  ),
  CONSTRAINT policy_decisions_objects CHECK (jsonb_typeof(facts) = 'object' AND jsonb_typeof(versions) = 'object'),
  CONSTRAINT policy_decisions_bounded CHECK (octet_length(facts::text) <= 4000 AND cardinality(roles) <= 64),
  CONSTRAINT policy_decisions_weight CHECK (weight > 0)
);
CREATE INDEX policy_decisions_organization_id_id_idx ON policy_decisions (organization_id, id);
CREATE INDEX policy_decisions_at_idx ON policy_decisions (at);

-- Forgets what is older than seven days, a batch at a time. Returns how many.
CREATE FUNCTION sweep_policy_decisions() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
  WITH swept AS (
    DELETE FROM policy_decisions WHERE id IN (
      SELECT id FROM policy_decisions WHERE at < now() - interval '7 days' ORDER BY at LIMIT 5000
    ) RETURNING 1
  )
  SELECT count(*) FROM swept
$$;

REVOKE ALL ON FUNCTION sweep_policy_decisions() FROM PUBLIC;
-- What was decided is never changed by the service, nor deleted before its time.
GRANT EXECUTE ON FUNCTION sweep_policy_decisions() TO policy_app;
GRANT SELECT, INSERT ON policy_decisions TO policy_app;
