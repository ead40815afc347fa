-- Who is kept out whole: suspended people and organizations, and keys of the issuer that are not to be
-- trusted any more. What is written here is told to whoever relies on it, as in 0003_revocations.

ALTER TABLE users
  ADD COLUMN suspended_at timestamptz(3),
  -- The operator; null when it was done by hand.
  ADD COLUMN suspended_by uuid,
  -- How many events a person has had: it is raised under the row's lock.
  ADD COLUMN event_seq bigint NOT NULL DEFAULT 0,
  ADD CONSTRAINT users_suspended_by_fkey FOREIGN KEY (suspended_by) REFERENCES users (id),
  ADD CONSTRAINT users_suspended CHECK (suspended_by IS NULL OR suspended_at IS NOT NULL),
  ADD CONSTRAINT users_suspend_others CHECK (suspended_by <> id);

ALTER TABLE organizations
  ADD COLUMN suspended_at timestamptz(3),
  ADD COLUMN suspended_by uuid,
  ADD COLUMN event_seq bigint NOT NULL DEFAULT 1,
  ADD CONSTRAINT organizations_suspended_by_fkey FOREIGN KEY (suspended_by) REFERENCES users (id),
  ADD CONSTRAINT organizations_suspended CHECK (suspended_by IS NULL OR suspended_at IS NOT NULL);

-- One lock for all that decides who may keep others out: of two operators who suspend each other at
-- once, one is refused. Held to the end of the transaction.
CREATE FUNCTION lock_operators() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
  SELECT pg_advisory_xact_lock(hashtext('policy.operators'))
$$;

-- Somebody can always undo it: no suspension takes the last operator away.
CREATE FUNCTION keep_an_operator() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
BEGIN
  PERFORM lock_operators();
  IF EXISTS (SELECT 1 FROM platform_roles WHERE user_id = NEW.id AND role = 'operator') AND NOT EXISTS (
    SELECT 1 FROM platform_roles r JOIN users u ON u.id = r.user_id
    WHERE r.role = 'operator' AND u.suspended_at IS NULL
  ) THEN
    RAISE EXCEPTION 'at least one operator is not suspended'
      USING ERRCODE = '23514', CONSTRAINT = 'users_keep_an_operator';
  END IF;
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER users_keep_an_operator AFTER UPDATE ON users
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (OLD.suspended_at IS NULL AND NEW.suspended_at IS NOT NULL) EXECUTE FUNCTION keep_an_operator();

-- Whether people may sign in changed. The API keys that they made name no person: told of apart.
CREATE FUNCTION concern_suspended_people() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  people uuid[];
BEGIN
  SELECT array_agg(o.id) INTO people FROM old_rows o JOIN new_rows n USING (id)
  WHERE (o.suspended_at IS NULL) <> (n.suspended_at IS NULL);
  PERFORM append_revocations('person', people::text[], 'users suspension');
  PERFORM append_revocations('credential', (
    SELECT array_agg('key:' || id) FROM api_keys WHERE created_by = ANY (people) AND revoked_at IS NULL
  ), 'users suspension');
  RETURN NULL;
END
$$;
CREATE TRIGGER users_suspension AFTER UPDATE ON users
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_suspended_people();

-- Whoever acts for it, its API keys included, depends on the organization.
CREATE FUNCTION concern_suspended_organizations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  ids text[];
BEGIN
  SELECT array_agg(o.id) INTO ids FROM old_rows o JOIN new_rows n USING (id)
  WHERE (o.suspended_at IS NULL) <> (n.suspended_at IS NULL);
  PERFORM append_revocations('organization', ids, 'organizations suspension');
  RETURN NULL;
END
$$;
CREATE TRIGGER organizations_suspension AFTER UPDATE ON organizations
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_suspended_organizations();

-- Keys of the issuer by which no token is good any more.
CREATE TABLE denied_signing_keys (
  -- As a token's header or the issuer's key set names it (kid), or its thumbprint (RFC 7638, SHA-256).
  key_id text NOT NULL,
  reason text NOT NULL,
  denied_by uuid NOT NULL,
  denied_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT denied_signing_keys_pkey PRIMARY KEY (key_id),
  CONSTRAINT denied_signing_keys_denied_by_fkey FOREIGN KEY (denied_by) REFERENCES users (id),
  CONSTRAINT denied_signing_keys_key_id CHECK (char_length(key_id) BETWEEN 1 AND 255),
  CONSTRAINT denied_signing_keys_reason CHECK (char_length(reason) BETWEEN 1 AND 500)
);

CREATE FUNCTION concern_signing_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  ids text[];
BEGIN
  IF TG_OP = 'INSERT' THEN
    SELECT array_agg(key_id) INTO ids FROM new_rows;
  ELSIF TG_OP = 'DELETE' THEN
    SELECT array_agg(key_id) INTO ids FROM old_rows;
  ELSE
    SELECT array_agg(DISTINCT key_id) INTO ids FROM (
      SELECT key_id FROM old_rows UNION ALL SELECT key_id FROM new_rows
    ) changed;
  END IF;
  PERFORM append_revocations('signing-key', ids, TG_TABLE_NAME || ' ' || lower(TG_OP));
  RETURN NULL;
END
$$;
CREATE TRIGGER denied_signing_keys_insert AFTER INSERT ON denied_signing_keys
  REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_signing_keys();
CREATE TRIGGER denied_signing_keys_update AFTER UPDATE ON denied_signing_keys
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_signing_keys();
CREATE TRIGGER denied_signing_keys_delete AFTER DELETE ON denied_signing_keys
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_signing_keys();
CREATE TRIGGER denied_signing_keys_truncate AFTER TRUNCATE ON denied_signing_keys FOR EACH STATEMENT EXECUTE FUNCTION concern_everyone();

-- Tells every gateway to fetch the issuer's keys anew; nothing of it is kept but this and the audit.
CREATE FUNCTION request_signing_key_refresh(refresh_id uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
  SELECT append_revocations('signing-key', ARRAY['refresh:' || refresh_id], 'signing keys refresh')
$$;

REVOKE ALL ON FUNCTION lock_operators(), keep_an_operator(), concern_suspended_people(),
  concern_suspended_organizations(), concern_signing_keys(), request_signing_key_refresh(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION lock_operators(), request_signing_key_refresh(uuid) TO policy_app;
GRANT UPDATE (suspended_at, suspended_by, event_seq) ON users, organizations TO policy_app;
GRANT SELECT, INSERT, DELETE ON denied_signing_keys TO policy_app;
