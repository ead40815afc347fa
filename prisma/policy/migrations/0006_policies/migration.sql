-- Policies are set at four levels, and every setting has a history: who set what, when and why.

ALTER TABLE policy_values RENAME COLUMN scope TO level;
ALTER TABLE policy_values
  ADD COLUMN user_id uuid,
  DROP CONSTRAINT policy_values_scope,
  ADD CONSTRAINT policy_values_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id);
-- What was set for one organization, operators set, in the place of the platform's value.
UPDATE policy_values SET level = 'GRANT' WHERE level = 'ORGANIZATION';
ALTER TABLE policy_values
  -- Null: it was set, and is not any more.
  ALTER COLUMN value DROP NOT NULL,
  ADD CONSTRAINT policy_values_level CHECK (level IN ('PLATFORM', 'GRANT', 'ORGANIZATION', 'USER')),
  ADD CONSTRAINT policy_values_whose CHECK (
    (organization_id IS NULL) = (level = 'PLATFORM') AND (user_id IS NOT NULL) = (level = 'USER')
  ),
  ADD CONSTRAINT policy_values_platform_is_set CHECK (level <> 'PLATFORM' OR value IS NOT NULL),
  ADD CONSTRAINT policy_values_value CHECK (value <> 'null');
DROP INDEX policy_values_platform;
DROP INDEX policy_values_organization;
CREATE UNIQUE INDEX policy_values_key_level_organization_id_user_id_key
  ON policy_values (key, level, organization_id, user_id) NULLS NOT DISTINCT;

-- A row for each version of a setting. What it was before is the value of the version before.
CREATE TABLE policy_changes (
  setting_id uuid NOT NULL,
  version bigint NOT NULL,
  -- Null: it was unset.
  value jsonb,
  -- The claims of who did it, as in the audit.
  actor jsonb NOT NULL,
  reason text NOT NULL,
  at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT policy_changes_pkey PRIMARY KEY (setting_id, version),
  CONSTRAINT policy_changes_setting_id_fkey FOREIGN KEY (setting_id) REFERENCES policy_values (id),
  CONSTRAINT policy_changes_version CHECK (version > 0),
  CONSTRAINT policy_changes_value CHECK (value <> 'null'),
  CONSTRAINT policy_changes_actor CHECK (jsonb_typeof(actor) = 'object'),
  CONSTRAINT policy_changes_reason CHECK (char_length(reason) BETWEEN 1 AND 500)
);
INSERT INTO policy_changes (setting_id, version, value, actor, reason, at)
  SELECT id, version, value, '{"kind": "service", "authority": "PERSON", "roles": [], "scopes": [], "svc": "policy"}',
    'As it was when its history began', updated_at
  FROM policy_values;

-- Versions are gapless.
CREATE FUNCTION follow_policy_changes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  latest bigint;
BEGIN
  SELECT coalesce(max(version), 0) INTO latest FROM policy_changes WHERE setting_id = NEW.setting_id;
  IF NEW.version <> latest + 1 THEN
    RAISE EXCEPTION 'version % of a policy cannot follow version %', NEW.version, latest
      USING ERRCODE = '23514', CONSTRAINT = 'policy_changes_gapless';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER policy_changes_gapless BEFORE INSERT ON policy_changes
  FOR EACH ROW EXECUTE FUNCTION follow_policy_changes();

-- What holds is the latest version of the history: neither is written without the other, whoever
-- writes. At the end of the transaction, since they are two statements.
CREATE FUNCTION keep_policy_history() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  setting uuid := CASE TG_TABLE_NAME WHEN 'policy_values' THEN to_jsonb(NEW) ->> 'id' ELSE to_jsonb(NEW) ->> 'setting_id' END;
BEGIN
  IF EXISTS (
    SELECT 1 FROM policy_values v
    LEFT JOIN policy_changes c ON c.setting_id = v.id AND c.version = v.version
    WHERE v.id = setting AND (
      c.version IS NULL OR c.value IS DISTINCT FROM v.value
      OR EXISTS (SELECT 1 FROM policy_changes later WHERE later.setting_id = v.id AND later.version > v.version)
    )
  ) THEN
    RAISE EXCEPTION 'a policy is changed together with its history'
      USING ERRCODE = '23514', CONSTRAINT = 'policy_values_have_history';
  END IF;
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER policy_values_have_history AFTER INSERT OR UPDATE ON policy_values
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION keep_policy_history();
CREATE CONSTRAINT TRIGGER policy_changes_hold AFTER INSERT ON policy_changes
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION keep_policy_history();

-- As before, and of every level: the key, and whose it is, `<key>@<uuid>`, when it is an organization's, so that
-- one that changes its own makes nobody else ask again.
CREATE OR REPLACE FUNCTION concern_policies() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  keys text[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT array_agg(DISTINCT concat_ws('@', key, organization_id)) INTO keys FROM new_rows;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT array_agg(DISTINCT concat_ws('@', key, organization_id)) INTO keys FROM old_rows;
  ELSE
    SELECT array_agg(DISTINCT concat_ws('@', key, organization_id)) INTO keys FROM (
      (SELECT key, level, organization_id, user_id, value FROM old_rows
        EXCEPT SELECT key, level, organization_id, user_id, value FROM new_rows)
      UNION ALL
      (SELECT key, level, organization_id, user_id, value FROM new_rows
        EXCEPT SELECT key, level, organization_id, user_id, value FROM old_rows)
    ) changed;
  END IF;
  PERFORM append_revocations('policy', keys, TG_TABLE_NAME || ' ' || lower(TG_OP));
  RETURN NULL;
END
$$;

REVOKE ALL ON FUNCTION follow_policy_changes(), keep_policy_history() FROM PUBLIC;
-- The history is never changed nor deleted by the service.
GRANT SELECT, INSERT ON policy_changes TO policy_app;
