-- Inboxes: per person a counter row and its notifications, numbered without gaps.

-- Who belongs to an organization, as policy's events tell it: whom to tell what concerns it.
CREATE TABLE recipients (
  organization_id uuid NOT NULL,
  user_id uuid NOT NULL,
  role text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT recipients_pkey PRIMARY KEY (organization_id, user_id),
  CONSTRAINT recipients_role CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER', 'BILLING', 'VIEWER'))
);

-- Locked by whoever changes the inbox; several of them in the order of user_id.
CREATE TABLE inboxes (
  user_id uuid NOT NULL,
  last_sequence bigint NOT NULL DEFAULT 0,
  -- The highest sequence that is kept no more: a reader who stands before it has missed something.
  purged_sequence bigint NOT NULL DEFAULT 0,
  unseen integer NOT NULL DEFAULT 0,
  unread integer NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 0,
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT inboxes_pkey PRIMARY KEY (user_id),
  CONSTRAINT inboxes_sequences CHECK (purged_sequence BETWEEN 0 AND last_sequence),
  CONSTRAINT inboxes_counts CHECK (unseen >= 0 AND unread >= unseen AND unread <= last_sequence)
);

CREATE TABLE notifications (
  id uuid NOT NULL,
  -- The time inside the id, which derives from the event and the person: a retry meets itself.
  occurred_at timestamptz(3) NOT NULL,
  -- How long it is kept: a month of one class is dropped whole.
  retention text NOT NULL,
  user_id uuid NOT NULL,
  organization_id uuid,
  -- Unique per person, and without gaps, because only inbox_append() below inserts here.
  sequence bigint NOT NULL,
  kind text NOT NULL,
  reason text,
  allocation_id uuid,
  status text NOT NULL DEFAULT 'UNSEEN',
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT notifications_pkey PRIMARY KEY (id, occurred_at, retention),
  CONSTRAINT notifications_sequence CHECK (sequence > 0),
  CONSTRAINT notifications_kind CHECK (kind ~ '^[A-Z_]{1,64}$'),
  CONSTRAINT notifications_reason CHECK (reason ~ '^[A-Z_]{1,64}$'),
  CONSTRAINT notifications_status CHECK (status IN ('UNSEEN', 'SEEN', 'READ', 'DISMISSED'))
) PARTITION BY LIST (retention);
CREATE INDEX notifications_user_id_sequence_idx ON notifications (user_id, sequence);

CREATE TABLE notifications_standard PARTITION OF notifications FOR VALUES IN ('STANDARD') PARTITION BY RANGE (occurred_at);
CREATE TABLE notifications_long PARTITION OF notifications FOR VALUES IN ('LONG') PARTITION BY RANGE (occurred_at);
SELECT ensure_partitions(3);

-- Puts one notification into each person's inbox, at the next sequence of their locked counter.
-- Rows are locked in the order of user_id, so that two of these cannot deadlock. An id that is
-- there already is left alone. Returns what was inserted.
CREATE FUNCTION inbox_append(
  ids uuid[], users uuid[], occurred timestamptz, class text, organization uuid, what text, why text, allocation uuid
) RETURNS TABLE (user_id uuid, sequence bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = notifications, pg_temp AS $$
  WITH given AS (
    SELECT g.id, g.user_id FROM unnest(ids, users) AS g(id, user_id)
    WHERE NOT EXISTS (
      SELECT FROM notifications n WHERE n.id = g.id AND n.occurred_at = occurred AND n.retention = class
    )
  ), counted AS (
    INSERT INTO inboxes AS i (user_id, last_sequence, unseen, unread, version)
    SELECT g.user_id, 1, 1, 1, 1 FROM given g ORDER BY g.user_id
    ON CONFLICT (user_id) DO UPDATE SET last_sequence = i.last_sequence + 1,
      unseen = i.unseen + 1, unread = i.unread + 1, version = i.version + 1, updated_at = now()
    RETURNING i.user_id, i.last_sequence
  )
  INSERT INTO notifications AS n (id, occurred_at, retention, user_id, organization_id, sequence, kind, reason, allocation_id)
  SELECT g.id, occurred, class, c.user_id, organization, c.last_sequence, what, why, allocation
  FROM counted c JOIN given g ON g.user_id = c.user_id
  RETURNING n.user_id, n.sequence
$$;

-- Drops the months of one class before a date that retention has emptied. Returns how many.
CREATE FUNCTION drop_empty_months(class text, before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = notifications, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  prefix text := 'notifications_' || lower(class) || '_';
  partition text;
  is_used boolean;
  dropped integer := 0;
BEGIN
  IF class NOT IN ('STANDARD', 'LONG') THEN
    RAISE EXCEPTION 'no retention class %', class USING ERRCODE = '22023';
  END IF;
  -- The lock of ensure_partitions(): one at a time makes or drops months.
  PERFORM pg_advisory_xact_lock(hashtextextended('notifications.ensure_partitions', 0));
  FOR partition IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = ('notifications.' || left(prefix, -1))::regclass
      AND c.relname < prefix || to_char(before, 'YYYY_MM')
    ORDER BY c.relname
  LOOP
    -- From the root down, as every statement on the root locks them.
    EXECUTE format('LOCK TABLE notifications, %I, %I IN ACCESS EXCLUSIVE MODE', left(prefix, -1), partition);
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', partition) INTO is_used;
    CONTINUE WHEN is_used;
    EXECUTE format('DROP TABLE %I', partition);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;

REVOKE ALL ON FUNCTION inbox_append(uuid[], uuid[], timestamptz, text, uuid, text, text, uuid) FROM PUBLIC;
REVOKE ALL ON FUNCTION drop_empty_months(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION inbox_append(uuid[], uuid[], timestamptz, text, uuid, text, text, uuid) TO notifications_app;
GRANT EXECUTE ON FUNCTION drop_empty_months(text, date) TO notifications_app;
GRANT SELECT, INSERT ON recipients TO notifications_app;
GRANT UPDATE (role) ON recipients TO notifications_app;
GRANT SELECT ON inboxes, notifications TO notifications_app;
-- Not last_sequence, and no INSERT: only inbox_append() gives sequences.
GRANT UPDATE (purged_sequence, unseen, unread, version, updated_at) ON inboxes TO notifications_app;
GRANT UPDATE (status) ON notifications TO notifications_app;
GRANT DELETE ON notifications TO notifications_app;
