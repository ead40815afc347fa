-- Who belongs to an organization is kept by membership, with how far its events are known: they come
-- again, and in any order, and whoever returns has another membership.
ALTER TABLE recipients
  DROP CONSTRAINT recipients_pkey,
  ADD COLUMN membership_id uuid,
  -- Of its last known event; 0 of one that was known by its person alone.
  ADD COLUMN sequence bigint NOT NULL DEFAULT 0,
  -- False from its last event on: the row stays, since an earlier one may still come.
  ADD COLUMN is_member boolean NOT NULL DEFAULT true,
  ALTER COLUMN role DROP NOT NULL;
UPDATE recipients SET membership_id = gen_random_uuid();
ALTER TABLE recipients
  ALTER COLUMN membership_id SET NOT NULL,
  ADD CONSTRAINT recipients_pkey PRIMARY KEY (membership_id),
  ADD CONSTRAINT recipients_role_of_members CHECK (role IS NOT NULL OR NOT is_member);
CREATE INDEX recipients_organization_id_user_id_idx ON recipients (organization_id, user_id);

-- Of an organization that the person does not belong to now: kept, not shown, and not counted in inboxes.
ALTER TABLE notifications ADD COLUMN is_hidden boolean NOT NULL DEFAULT false;

GRANT UPDATE (sequence, is_member) ON recipients TO notifications_app;
GRANT UPDATE (is_hidden) ON notifications TO notifications_app;
