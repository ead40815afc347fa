-- Browser sessions: what the gateway's cookie stands for. The cookie's value is kept nowhere, only its
-- hash; the issuer's refresh token only sealed, and no longer than the session.

CREATE TABLE sessions (
  id uuid NOT NULL,
  user_id uuid NOT NULL,
  -- As whom they signed in, at which issuer.
  issuer text NOT NULL,
  subject text NOT NULL,
  -- The issuer's own name for its session (`sid`), by which it can end this one.
  issuer_session text,
  -- SHA-256 of the cookie's value.
  token_hash bytea NOT NULL,
  -- platform/src/envelope.ts
  refresh_token_enc text,
  -- When the issuer is to be asked again whether they are still known there.
  refresh_at timestamptz(3),
  -- Of whoever was last given the refresh token, which may be used once.
  refresh_lease uuid,
  user_agent text,
  client_ip text,
  idle_seconds integer NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  last_used_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3) NOT NULL,
  ended_at timestamptz(3),
  end_reason text,
  CONSTRAINT sessions_pkey PRIMARY KEY (id),
  CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
  CONSTRAINT sessions_token_hash_length CHECK (octet_length(token_hash) = 32),
  CONSTRAINT sessions_sealed CHECK (refresh_token_enc LIKE 'v_%.%'),
  CONSTRAINT sessions_no_secret_after_the_end CHECK (ended_at IS NULL OR refresh_token_enc IS NULL),
  CONSTRAINT sessions_refresh CHECK ((refresh_token_enc IS NULL) = (refresh_at IS NULL)),
  CONSTRAINT sessions_texts CHECK (char_length(user_agent) <= 300 AND char_length(client_ip) <= 45 AND char_length(issuer_session) <= 255),
  CONSTRAINT sessions_lifetimes CHECK (idle_seconds > 0 AND expires_at > created_at AND expires_at <= created_at + interval '30 days'),
  CONSTRAINT sessions_end CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
  CONSTRAINT sessions_end_reason CHECK (end_reason IN ('LOGOUT', 'REVOKED', 'REPLACED', 'ISSUER', 'LIMIT', 'EXPIRED'))
);
CREATE UNIQUE INDEX sessions_token_hash_key ON sessions (token_hash);
CREATE INDEX sessions_user_id_idx ON sessions (user_id);
CREATE INDEX sessions_issuer_subject_idx ON sessions (issuer, subject);
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);

-- Neither ended, nor too old, nor unused for too long.
CREATE FUNCTION is_live(s sessions) RETURNS boolean
LANGUAGE sql STABLE AS $$
  SELECT s.ended_at IS NULL AND s.expires_at > now() AND s.last_used_at + make_interval(secs => s.idle_seconds) > now()
$$;

CREATE FUNCTION keep_sessions_ended() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a session that has ended stays as it is' USING ERRCODE = '23514';
END
$$;
CREATE TRIGGER sessions_keep_ended BEFORE UPDATE ON sessions FOR EACH ROW
  WHEN (OLD.ended_at IS NOT NULL) EXECUTE FUNCTION keep_sessions_ended();

-- Whoever presents one of these sessions may not any more, or no longer as before. That it was used,
-- or refreshed, concerns nobody; nor does the end of one that was over already.
CREATE FUNCTION concern_sessions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
DECLARE
  ids text[];
BEGIN
  IF TG_OP = 'DELETE' THEN
    SELECT array_agg('ses:' || o.id) INTO ids FROM old_rows o WHERE is_live(o);
  ELSE
    SELECT array_agg('ses:' || o.id) INTO ids FROM old_rows o LEFT JOIN new_rows n USING (id)
    WHERE is_live(o) AND (
      n.id IS NULL OR NOT is_live(n) OR n.expires_at < o.expires_at
      OR n.last_used_at < o.last_used_at OR n.idle_seconds < o.idle_seconds
      OR (n.user_id, n.issuer, n.subject, n.token_hash) IS DISTINCT FROM (o.user_id, o.issuer, o.subject, o.token_hash)
    );
  END IF;
  PERFORM append_revocations('credential', ids, 'sessions ' || lower(TG_OP));
  RETURN NULL;
END
$$;
CREATE TRIGGER sessions_update AFTER UPDATE ON sessions
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_sessions();
CREATE TRIGGER sessions_delete AFTER DELETE ON sessions
  REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION concern_sessions();
CREATE TRIGGER sessions_truncate AFTER TRUNCATE ON sessions FOR EACH STATEMENT EXECUTE FUNCTION concern_everyone();

-- Takes the secrets from what is over, and forgets what has been over for 30 days, a batch of each.
-- Returns how many.
CREATE FUNCTION sweep_sessions() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = policy, pg_temp AS $$
  WITH over AS (
    UPDATE sessions SET ended_at = now(), end_reason = 'EXPIRED', refresh_token_enc = NULL, refresh_at = NULL
    WHERE id IN (SELECT id FROM sessions s WHERE ended_at IS NULL AND NOT is_live(s) LIMIT 500 FOR UPDATE SKIP LOCKED)
    RETURNING 1
  ), forgotten AS (
    DELETE FROM sessions WHERE id IN (
      SELECT id FROM sessions WHERE ended_at < now() - interval '30 days' ORDER BY expires_at LIMIT 500
    ) RETURNING 1
  )
  SELECT (SELECT count(*) FROM over) + (SELECT count(*) FROM forgotten)
$$;

REVOKE ALL ON FUNCTION keep_sessions_ended(), concern_sessions(), sweep_sessions(), is_live(sessions) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_sessions(), is_live(sessions) TO policy_app;
GRANT SELECT, INSERT ON sessions TO policy_app;
GRANT UPDATE (refresh_token_enc, refresh_at, refresh_lease, last_used_at, ended_at, end_reason) ON sessions TO policy_app;
