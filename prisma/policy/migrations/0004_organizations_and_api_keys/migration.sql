-- Members who come, change and go, invitations, and the API keys of organizations.

-- How many events a membership has had: it is raised under the row's lock.
ALTER TABLE memberships ADD COLUMN event_seq bigint NOT NULL DEFAULT 1;

-- Whatever takes an owner away leaves another one, or the whole organization goes. At the end of the
-- transaction, under the organization's lock: of two owners who leave at once, one stays.
CREATE FUNCTION keep_an_owner() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
BEGIN
  PERFORM 1 FROM organizations WHERE id = OLD.organization_id FOR NO KEY UPDATE;
  IF FOUND AND NOT EXISTS (
    SELECT 1 FROM memberships WHERE organization_id = OLD.organization_id AND role = 'OWNER'
  ) THEN
    RAISE EXCEPTION 'an organization keeps at least one owner'
      USING ERRCODE = '23514', CONSTRAINT = 'memberships_keep_an_owner';
  END IF;
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER memberships_keep_an_owner AFTER UPDATE OR DELETE ON memberships
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.role = 'OWNER') EXECUTE FUNCTION keep_an_owner();

-- What secrets are hashed with, so that a copy of these tables alone can try none: sealed like the
-- keys of the SSH authorities. A hash names the one that it was made with.
CREATE TABLE peppers (
  id smallint NOT NULL,
  -- platform/src/envelope.ts
  secret_enc text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT peppers_pkey PRIMARY KEY (id),
  CONSTRAINT peppers_sealed CHECK (secret_enc LIKE 'v_%.%')
);

CREATE TABLE invitations (
  id uuid NOT NULL,
  organization_id uuid NOT NULL,
  role text NOT NULL,
  -- For whom it is, which is a person's data: sealed, and forgotten when it has come to something.
  note_enc text,
  token_hash bytea NOT NULL,
  pepper_id smallint NOT NULL,
  created_by uuid NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3) NOT NULL,
  accepted_at timestamptz(3),
  accepted_by uuid,
  revoked_at timestamptz(3),
  CONSTRAINT invitations_pkey PRIMARY KEY (id),
  CONSTRAINT invitations_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
  CONSTRAINT invitations_pepper_id_fkey FOREIGN KEY (pepper_id) REFERENCES peppers (id),
  CONSTRAINT invitations_created_by_fkey FOREIGN KEY (created_by) REFERENCES users (id),
  CONSTRAINT invitations_accepted_by_fkey FOREIGN KEY (accepted_by) REFERENCES users (id),
  CONSTRAINT invitations_role CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER', 'BILLING', 'VIEWER')),
  CONSTRAINT invitations_sealed CHECK (note_enc LIKE 'v_%.%'),
  CONSTRAINT invitations_hashed CHECK (octet_length(token_hash) = 32),
  CONSTRAINT invitations_once CHECK (accepted_at IS NULL OR revoked_at IS NULL),
  CONSTRAINT invitations_accepted CHECK ((accepted_at IS NULL) = (accepted_by IS NULL)),
  CONSTRAINT invitations_forgotten CHECK (note_enc IS NULL OR (accepted_at IS NULL AND revoked_at IS NULL))
);
CREATE INDEX invitations_organization_id_id_idx ON invitations (organization_id, id);

CREATE TABLE api_keys (
  id uuid NOT NULL,
  organization_id uuid NOT NULL,
  name text NOT NULL,
  scopes text[] NOT NULL,
  -- Null: from anywhere.
  allowed_cidrs text[],
  secret_hash bytea NOT NULL,
  pepper_id smallint NOT NULL,
  -- Of the secret before the last rotation, while it is good.
  previous_hash bytea,
  previous_pepper_id smallint,
  previous_ends_at timestamptz(3),
  created_by uuid NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3) NOT NULL,
  revoked_at timestamptz(3),
  -- To the minute.
  last_used_at timestamptz(3),
  event_seq bigint NOT NULL DEFAULT 1,
  CONSTRAINT api_keys_pkey PRIMARY KEY (id),
  CONSTRAINT api_keys_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
  CONSTRAINT api_keys_pepper_id_fkey FOREIGN KEY (pepper_id) REFERENCES peppers (id),
  CONSTRAINT api_keys_previous_pepper_id_fkey FOREIGN KEY (previous_pepper_id) REFERENCES peppers (id),
  CONSTRAINT api_keys_created_by_fkey FOREIGN KEY (created_by) REFERENCES users (id),
  CONSTRAINT api_keys_name_length CHECK (char_length(name) BETWEEN 1 AND 80),
  CONSTRAINT api_keys_scopes CHECK (cardinality(scopes) BETWEEN 1 AND 50),
  CONSTRAINT api_keys_cidrs CHECK (cardinality(allowed_cidrs) BETWEEN 1 AND 50),
  CONSTRAINT api_keys_hashed CHECK (octet_length(secret_hash) = 32 AND octet_length(previous_hash) = 32),
  CONSTRAINT api_keys_previous CHECK (
    (previous_hash IS NULL) = (previous_ends_at IS NULL) AND (previous_hash IS NULL) = (previous_pepper_id IS NULL)
  )
);
CREATE INDEX api_keys_organization_id_id_idx ON api_keys (organization_id, id);
CREATE INDEX api_keys_created_by_idx ON api_keys (created_by);

-- What a key may do, or until when, changed: all but when it was last used. Told as `key:<uuid>`.
CREATE FUNCTION concern_api_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  keys text[];
BEGIN
  IF TG_OP = 'DELETE' THEN
    SELECT array_agg('key:' || id) INTO keys FROM old_rows;
  ELSE
    SELECT array_agg(DISTINCT 'key:' || coalesce(o.id, n.id)) INTO keys
    FROM old_rows o FULL JOIN new_rows n ON n.id = o.id
    WHERE (to_jsonb(o) - 'last_used_at') IS DISTINCT FROM (to_jsonb(n) - 'last_used_at');
  END IF;
  PERFORM append_revocations('credential', keys, TG_TABLE_NAME || ' ' || lower(TG_OP));
  RETURN NULL;
END
$$;
CREATE TRIGGER api_keys_update AFTER UPDATE ON api_keys
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_api_keys();
CREATE TRIGGER api_keys_delete AFTER DELETE ON api_keys
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_api_keys();
CREATE TRIGGER api_keys_truncate AFTER TRUNCATE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION concern_everyone();

-- A key may do what whoever made it may, and its actor names no person: it is told of apart.
CREATE FUNCTION concern_api_keys_of_members() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  keys text[];
BEGIN
  SELECT array_agg(DISTINCT 'key:' || k.id) INTO keys
  FROM old_rows m JOIN api_keys k ON k.created_by = m.user_id AND k.organization_id = m.organization_id
  WHERE k.revoked_at IS NULL;
  PERFORM append_revocations('credential', keys, TG_TABLE_NAME || ' ' || lower(TG_OP));
  RETURN NULL;
END
$$;
CREATE TRIGGER memberships_update_api_keys AFTER UPDATE ON memberships
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_api_keys_of_members();
CREATE TRIGGER memberships_delete_api_keys AFTER DELETE ON memberships
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_api_keys_of_members();

REVOKE ALL ON FUNCTION keep_an_owner(), concern_api_keys(), concern_api_keys_of_members() FROM PUBLIC;
GRANT UPDATE (role, event_seq), DELETE ON memberships TO policy_app;
GRANT SELECT, INSERT ON peppers, invitations, api_keys TO policy_app;
GRANT UPDATE (note_enc, accepted_at, accepted_by, revoked_at) ON invitations TO policy_app;
GRANT UPDATE (secret_hash, pepper_id, previous_hash, previous_pepper_id, previous_ends_at, expires_at,
  revoked_at, last_used_at, event_seq) ON api_keys TO policy_app;
