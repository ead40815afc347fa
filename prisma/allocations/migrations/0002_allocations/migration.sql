-- Allocations, the slots and keys they carry, what happened to them, people's SSH keys, terminal sessions.
-- Runs as allocations_owner with search_path = allocations; the service runs as allocations_app.

-- A person's, not an organization's.
CREATE TABLE ssh_keys (
  id uuid NOT NULL,
  user_id uuid NOT NULL,
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 80),
  -- `type base64`: one canonical text per key, without comment.
  public_key text NOT NULL CHECK (public_key ~ '^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*$'),
  fingerprint text NOT NULL CHECK (fingerprint LIKE 'SHA256:%'),
  created_at timestamptz(3) NOT NULL,
  CONSTRAINT ssh_keys_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ssh_keys_user_id_fingerprint_key ON ssh_keys (user_id, fingerprint);

CREATE TABLE allocations (
  id uuid NOT NULL,
  organization_id uuid NOT NULL,
  created_by uuid NOT NULL,
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 80),
  state text NOT NULL CHECK (state IN ('REQUESTED', 'RESERVED', 'PROVISIONING', 'STARTING', 'RUNNING',
    'STOPPING', 'STOPPED', 'RELEASING', 'RELEASED', 'FAILED')),
  reason text CHECK (reason IN ('USER', 'NO_CAPACITY', 'QUOTA', 'POLICY', 'NO_BALANCE', 'PREEMPTED', 'NODE_LOST',
    'PROVISION_TIMEOUT', 'IMAGE_ERROR', 'IDLE', 'MAX_DURATION', 'ADMIN')),
  gpu_model text NOT NULL,
  gpu_count integer NOT NULL CHECK (gpu_count BETWEEN 1 AND 16),
  -- What was asked for; null is any.
  region text,
  node_id uuid,
  hold_id uuid,
  -- Which run this is: each holds slots and credit of its own, and starts and ends by itself.
  run integer NOT NULL DEFAULT 1 CHECK (run >= 1),
  node_name text,
  ssh_host text,
  ssh_port integer CHECK (ssh_port BETWEEN 1 AND 65535),
  ssh_username text,
  ssh_host_key_fingerprint text,
  created_at timestamptz(3) NOT NULL,
  -- The run's.
  started_at timestamptz(3),
  ended_at timestamptz(3),
  state_deadline_at timestamptz(3),
  next_attempt_at timestamptz(3),
  attempts integer NOT NULL DEFAULT 0,
  lease_token uuid,
  lease_until timestamptz(3),
  is_node_touched boolean NOT NULL DEFAULT false,
  is_cleanup_pending boolean NOT NULL DEFAULT false,
  -- Whom the platform acts for: the claims of who asked for it, as the audit has them. No secret.
  actor jsonb NOT NULL CHECK (jsonb_typeof(actor) = 'object'),
  -- The request, or the event, that set it going last: its events and commands carry it on.
  correlation_id text CHECK (char_length(correlation_id) BETWEEN 1 AND 128),
  causation_id text CHECK (char_length(causation_id) BETWEEN 1 AND 128),
  traceparent text CHECK (char_length(traceparent) BETWEEN 1 AND 64),
  -- The sequence of its last event: given under this row's lock, so gapless.
  event_seq integer NOT NULL CHECK (event_seq >= 1),
  CONSTRAINT allocations_pkey PRIMARY KEY (id),
  CONSTRAINT allocations_lease CHECK ((lease_token IS NULL) = (lease_until IS NULL)),
  CONSTRAINT allocations_reserved CHECK (
    state IN ('REQUESTED', 'RELEASING', 'RELEASED', 'FAILED') OR (node_id IS NOT NULL AND hold_id IS NOT NULL)),
  CONSTRAINT allocations_running CHECK (
    state <> 'RUNNING' OR (started_at IS NOT NULL AND node_name IS NOT NULL AND ssh_host IS NOT NULL
      AND ssh_port IS NOT NULL AND ssh_username IS NOT NULL AND ssh_host_key_fingerprint IS NOT NULL)),
  CONSTRAINT allocations_ended CHECK ((ended_at IS NOT NULL) = (state IN ('RELEASING', 'RELEASED', 'FAILED'))),
  CONSTRAINT allocations_reasoned CHECK (ended_at IS NULL OR reason IS NOT NULL),
  -- Every transitional state has a deadline.
  CONSTRAINT allocations_deadline CHECK ((state_deadline_at IS NOT NULL) =
    (state IN ('REQUESTED', 'RESERVED', 'PROVISIONING', 'STARTING', 'STOPPING', 'RELEASING'))),
  CONSTRAINT allocations_cleanup CHECK (NOT is_cleanup_pending OR state IN ('RELEASED', 'FAILED')),
  -- What is not finished is looked at again.
  CONSTRAINT allocations_attempted CHECK (next_attempt_at IS NOT NULL
    OR (state_deadline_at IS NULL AND NOT is_cleanup_pending))
);
CREATE INDEX allocations_organization_id_id_idx ON allocations (organization_id, id);
-- Which nodes may carry something.
CREATE INDEX allocations_on_nodes ON allocations (ended_at, node_id) WHERE node_id IS NOT NULL;
CREATE INDEX allocations_due ON allocations (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX allocations_overdue ON allocations (state_deadline_at) WHERE state_deadline_at IS NOT NULL;

CREATE TABLE allocation_slots (
  allocation_id uuid NOT NULL REFERENCES allocations (id),
  run integer NOT NULL CHECK (run >= 1),
  slot_id uuid NOT NULL,
  organization_id uuid NOT NULL,
  gpu_index integer NOT NULL CHECK (gpu_index >= 0),
  gpu_uuid text NOT NULL,
  -- The fencing token that inventory knows the slot by.
  generation bigint NOT NULL CHECK (generation >= 0),
  live boolean NOT NULL DEFAULT true,
  CONSTRAINT allocation_slots_pkey PRIMARY KEY (allocation_id, run, slot_id)
);
-- A slot carries at most one live allocation, whatever inventory believes.
CREATE UNIQUE INDEX allocation_slots_live ON allocation_slots (slot_id) WHERE live;

-- The public keys installed on an allocation, as they were when it was asked for.
CREATE TABLE allocation_keys (
  allocation_id uuid NOT NULL REFERENCES allocations (id),
  fingerprint text NOT NULL,
  organization_id uuid NOT NULL,
  ssh_key_id uuid NOT NULL,
  public_key text NOT NULL,
  CONSTRAINT allocation_keys_pkey PRIMARY KEY (allocation_id, fingerprint)
);

CREATE TABLE allocation_events (
  -- The id of the outbox row, and so of the published event.
  id uuid NOT NULL,
  allocation_id uuid NOT NULL REFERENCES allocations (id),
  organization_id uuid NOT NULL,
  sequence integer NOT NULL CHECK (sequence >= 1),
  state text NOT NULL,
  reason text,
  at timestamptz(3) NOT NULL,
  CONSTRAINT allocation_events_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX allocation_events_allocation_id_sequence_key ON allocation_events (allocation_id, sequence);

-- The token is nowhere in Postgres.
CREATE TABLE terminal_sessions (
  id uuid NOT NULL,
  organization_id uuid NOT NULL,
  allocation_id uuid NOT NULL REFERENCES allocations (id),
  user_id uuid NOT NULL,
  origin text,
  created_at timestamptz(3) NOT NULL,
  expires_at timestamptz(3) NOT NULL,
  opened_at timestamptz(3),
  closed_at timestamptz(3),
  close_reason text CHECK (close_reason IN ('EXIT', 'CLIENT', 'IDLE', 'MAX_DURATION', 'DRAIN', 'ERROR', 'REVOKED')),
  CONSTRAINT terminal_sessions_pkey PRIMARY KEY (id),
  CONSTRAINT terminal_sessions_closed CHECK ((closed_at IS NULL) = (close_reason IS NULL))
);
CREATE INDEX terminal_sessions_allocation_id_idx ON terminal_sessions (allocation_id);

GRANT SELECT, INSERT ON ssh_keys, allocations, allocation_slots, allocation_keys, allocation_events, terminal_sessions
  TO allocations_app;
GRANT DELETE ON ssh_keys TO allocations_app;
GRANT UPDATE (state, reason, node_id, hold_id, node_name, ssh_host, ssh_port, ssh_username, ssh_host_key_fingerprint,
  started_at, ended_at, state_deadline_at, next_attempt_at, attempts, lease_token, lease_until, is_node_touched,
  is_cleanup_pending, correlation_id, causation_id, traceparent, event_seq) ON allocations TO allocations_app;
GRANT UPDATE (generation, live) ON allocation_slots TO allocations_app;
GRANT UPDATE (opened_at, closed_at, close_reason) ON terminal_sessions TO allocations_app;
