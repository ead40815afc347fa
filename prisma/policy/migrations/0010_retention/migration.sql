-- What has ended is forgotten after a while, and what seals and hashes the rest can be replaced.

-- As in 0004_organizations_and_api_keys, but what was over already concerns nobody: neither a key that
-- had ended when it is deleted, nor the secret before a rotation once its overlap is over.
CREATE OR REPLACE FUNCTION concern_api_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  past_overlap CONSTANT text[] := '{previous_hash,previous_pepper_id,previous_ends_at}';
  keys text[];
BEGIN
  IF TG_OP = 'DELETE' THEN
    SELECT array_agg('key:' || id) INTO keys FROM old_rows WHERE revoked_at IS NULL AND expires_at > now();
  ELSE
    SELECT array_agg(DISTINCT 'key:' || coalesce(o.id, n.id)) INTO keys
    FROM old_rows o FULL JOIN new_rows n ON n.id = o.id
    WHERE (to_jsonb(o) - 'last_used_at' - CASE WHEN o.previous_ends_at > now() THEN '{}' ELSE past_overlap END)
      IS DISTINCT FROM
      (to_jsonb(n) - 'last_used_at' - CASE WHEN n.previous_ends_at > now() THEN '{}' ELSE past_overlap END);
  END IF;
  PERFORM append_revocations('credential', keys, TG_TABLE_NAME || ' ' || lower(TG_OP));
  RETURN NULL;
END
$$;

-- When it came to its end, whichever comes first.
CREATE INDEX invitations_ended ON invitations (least(accepted_at, revoked_at, expires_at));
CREATE INDEX api_keys_ended ON api_keys (least(revoked_at, expires_at));
CREATE INDEX api_keys_overlap ON api_keys (previous_ends_at) WHERE previous_ends_at IS NOT NULL;

-- Forgets invitations and API keys that ended 90 days ago, and the hash of a secret whose overlap is over; a
-- batch of each, the oldest first. What they did stays in the audit, which names them by their ids. Returns
-- how many.
CREATE FUNCTION sweep_ended_credentials() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
  WITH forgotten_invitations AS (
    DELETE FROM invitations WHERE id IN (
      SELECT id FROM invitations WHERE least(accepted_at, revoked_at, expires_at) < now() - interval '90 days'
      ORDER BY least(accepted_at, revoked_at, expires_at) LIMIT 500 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
  ), forgotten_keys AS (
    DELETE FROM api_keys WHERE id IN (
      SELECT id FROM api_keys WHERE least(revoked_at, expires_at) < now() - interval '90 days'
      ORDER BY least(revoked_at, expires_at) LIMIT 500 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
  ), forgotten_overlaps AS (
    UPDATE api_keys SET previous_hash = NULL, previous_pepper_id = NULL, previous_ends_at = NULL
    WHERE id IN (
      SELECT id FROM api_keys
      WHERE previous_ends_at <= now() AND least(revoked_at, expires_at) >= now() - interval '90 days'
      ORDER BY previous_ends_at LIMIT 500 FOR UPDATE SKIP LOCKED
    ) RETURNING 1
  )
  SELECT (SELECT count(*) FROM forgotten_invitations) + (SELECT count(*) FROM forgotten_keys)
    + (SELECT count(*) FROM forgotten_overlaps)
$$;

-- Removes a pepper that is not the newest. Whatever was hashed with it refuses that: foreign keys.
CREATE FUNCTION retire_pepper(old smallint) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
  WITH retired AS (
    DELETE FROM peppers WHERE id = old AND id < (SELECT max(id) FROM peppers) RETURNING 1
  )
  SELECT EXISTS (SELECT FROM retired)
$$;

-- Whether an envelope is another one with its data key wrapped anew, and nothing else changed:
-- `v1.<kek id>.<wrapped data key>.<nonce>.<ciphertext and tag>.<commitment>`, platform/src/envelope.ts.
CREATE FUNCTION is_rewrapped(before text, after text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
  SELECT cardinality(string_to_array(after, '.')) = 6
    AND split_part(after, '.', 1) = split_part(before, '.', 1)
    AND (string_to_array(after, '.'))[4:6] = (string_to_array(before, '.'))[4:6]
$$;

-- The service cannot put another key or pepper in the place of one: only wrap the same one anew.
CREATE FUNCTION rewrap_ssh_authority(of text, before text, after text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
  WITH rewrapped AS (
    UPDATE ssh_authorities SET private_key_enc = after
    WHERE name = of AND private_key_enc = before AND is_rewrapped(before, after) RETURNING 1
  )
  SELECT EXISTS (SELECT FROM rewrapped)
$$;
CREATE FUNCTION rewrap_pepper(of smallint, before text, after text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
  WITH rewrapped AS (
    UPDATE peppers SET secret_enc = after
    WHERE id = of AND secret_enc = before AND is_rewrapped(before, after) RETURNING 1
  )
  SELECT EXISTS (SELECT FROM rewrapped)
$$;

REVOKE ALL ON FUNCTION concern_api_keys(), sweep_ended_credentials(), retire_pepper(smallint),
  is_rewrapped(text, text), rewrap_ssh_authority(text, text, text), rewrap_pepper(smallint, text, text)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_ended_credentials(), retire_pepper(smallint),
  rewrap_ssh_authority(text, text, text), rewrap_pepper(smallint, text, text) TO policy_app;
