-- The fleet: where nodes stand, which GPUs they have, what carries which allocation, and what probes
-- say. Runs as inventory_owner with search_path = inventory; the service runs as inventory_app.

CREATE TABLE regions (
  code text NOT NULL,
  name text NOT NULL,
  CONSTRAINT regions_pkey PRIMARY KEY (code),
  CONSTRAINT regions_code_form CHECK (code ~ '^[a-z0-9][a-z0-9-]{0,39}$')
);

CREATE TABLE gpu_models (
  code text NOT NULL,
  name text NOT NULL,
  memory_mib integer NOT NULL,
  -- What nvidia-smi prints for it: drivers differ.
  product_names text[] NOT NULL,
  CONSTRAINT gpu_models_pkey PRIMARY KEY (code),
  CONSTRAINT gpu_models_code_form CHECK (code ~ '^[a-z0-9][a-z0-9-]{0,79}$'),
  CONSTRAINT gpu_models_memory_positive CHECK (memory_mib > 0),
  CONSTRAINT gpu_models_has_product CHECK (cardinality(product_names) > 0)
);

CREATE TABLE nodes (
  id uuid NOT NULL,
  name text NOT NULL,
  region_code text NOT NULL,
  host text NOT NULL,
  port integer NOT NULL,
  username text NOT NULL,
  state text NOT NULL DEFAULT 'ENROLLING',
  health text NOT NULL DEFAULT 'WARNING',
  -- Whether the node itself keeps tenants off each other's GPUs. Without that it serves one
  -- organization at a time.
  is_isolated boolean NOT NULL DEFAULT false,
  -- Pinned at the first probe when it was not given.
  host_key_fingerprint text,
  -- Probes in a row that failed.
  misses integer NOT NULL DEFAULT 0,
  -- The last aggregateSeq given, under this row's lock.
  event_seq bigint NOT NULL DEFAULT 0,
  probe_due_at timestamptz(3) NOT NULL,
  -- Who probes it now, until when; a result under another token changes nothing.
  probe_token uuid,
  probe_leased_until timestamptz(3),
  created_at timestamptz(3) NOT NULL,
  CONSTRAINT nodes_pkey PRIMARY KEY (id),
  CONSTRAINT nodes_region_code_fkey FOREIGN KEY (region_code) REFERENCES regions (code),
  CONSTRAINT nodes_name_form CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
  CONSTRAINT nodes_port_range CHECK (port BETWEEN 1 AND 65535),
  CONSTRAINT nodes_username_form CHECK (username ~ '^[A-Za-z_][A-Za-z0-9_.-]{0,31}$'),
  CONSTRAINT nodes_state_known CHECK (state IN ('ENROLLING', 'READY', 'CORDONED', 'DRAINING', 'UNREACHABLE', 'RETIRED')),
  CONSTRAINT nodes_health_known CHECK (health IN ('HEALTHY', 'WARNING', 'FAILURE')),
  CONSTRAINT nodes_unreachable_fails CHECK (state <> 'UNREACHABLE' OR health = 'FAILURE'),
  CONSTRAINT nodes_ready_is_pinned CHECK (state <> 'READY' OR host_key_fingerprint IS NOT NULL),
  CONSTRAINT nodes_host_key_form CHECK (host_key_fingerprint ~ '^SHA256:[A-Za-z0-9+/]{43}$'),
  CONSTRAINT nodes_misses_natural CHECK (misses >= 0),
  CONSTRAINT nodes_lease_whole CHECK ((probe_token IS NULL) = (probe_leased_until IS NULL))
);
CREATE UNIQUE INDEX nodes_name_key ON nodes (name);
CREATE UNIQUE INDEX nodes_host_port_key ON nodes (host, port);
CREATE INDEX nodes_probe_due_at_idx ON nodes (probe_due_at);

CREATE TABLE slots (
  id uuid NOT NULL,
  node_id uuid NOT NULL,
  -- Where nvidia-smi lists it: moves when a GPU before it falls off the bus, so it identifies nothing.
  index integer NOT NULL,
  gpu_uuid text NOT NULL,
  gpu_model_code text NOT NULL,
  state text NOT NULL DEFAULT 'FREE',
  -- The fencing token: grows at every change of state.
  generation bigint NOT NULL DEFAULT 0,
  allocation_id uuid,
  -- Which run of the allocation.
  run integer,
  organization_id uuid,
  changed_at timestamptz(3) NOT NULL,
  CONSTRAINT slots_pkey PRIMARY KEY (id),
  CONSTRAINT slots_node_id_fkey FOREIGN KEY (node_id) REFERENCES nodes (id),
  CONSTRAINT slots_gpu_model_code_fkey FOREIGN KEY (gpu_model_code) REFERENCES gpu_models (code),
  CONSTRAINT slots_index_natural CHECK (index >= 0),
  CONSTRAINT slots_generation_natural CHECK (generation >= 0),
  CONSTRAINT slots_state_known CHECK (state IN ('FREE', 'HELD', 'BOUND', 'CLEANING', 'QUARANTINED')),
  -- A quarantined slot may carry what it was taken from, or nothing when its GPU went missing.
  CONSTRAINT slots_free_has_no_allocation CHECK (state <> 'FREE' OR allocation_id IS NULL),
  CONSTRAINT slots_taken_has_allocation CHECK (state IN ('FREE', 'QUARANTINED') OR allocation_id IS NOT NULL),
  CONSTRAINT slots_tenant_whole CHECK ((allocation_id IS NULL) = (organization_id IS NULL)
    AND (allocation_id IS NULL) = (run IS NULL)),
  CONSTRAINT slots_run_positive CHECK (run >= 1)
);
CREATE UNIQUE INDEX slots_gpu_uuid_key ON slots (gpu_uuid);
CREATE INDEX slots_node_id_idx ON slots (node_id);
CREATE INDEX slots_allocation_id_idx ON slots (allocation_id);
CREATE INDEX slots_free ON slots (gpu_model_code, node_id) WHERE state = 'FREE';

-- The fence, whoever writes: a slot's state changes only together with a greater generation, and
-- its generation never falls.
CREATE FUNCTION guard_slot_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.generation < OLD.generation
    OR (NEW.generation = OLD.generation
      AND (NEW.state, NEW.allocation_id, NEW.run) IS DISTINCT FROM (OLD.state, OLD.allocation_id, OLD.run)) THEN
    RAISE EXCEPTION 'slot % changed without a greater generation', OLD.id USING ERRCODE = '23514';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER slots_generation_grows BEFORE UPDATE ON slots
  FOR EACH ROW EXECUTE FUNCTION guard_slot_generation();

-- Runs of allocations that gave their slots back, or never will have any: a hold that was delayed on its way
-- finds itself here and takes nothing.
CREATE TABLE slot_releases (
  allocation_id uuid NOT NULL,
  run integer NOT NULL,
  outcome text NOT NULL,
  released integer NOT NULL,
  released_at timestamptz(3) NOT NULL,
  CONSTRAINT slot_releases_pkey PRIMARY KEY (allocation_id, run),
  CONSTRAINT slot_releases_run_positive CHECK (run >= 1),
  CONSTRAINT slot_releases_outcome_known CHECK (outcome IN ('CLEAN', 'UNCONFIRMED')),
  CONSTRAINT slot_releases_released_natural CHECK (released >= 0)
);

CREATE TABLE probes (
  id uuid NOT NULL,
  node_id uuid NOT NULL,
  at timestamptz(3) NOT NULL,
  ok boolean NOT NULL,
  latency_ms integer,
  gpu_count integer NOT NULL,
  problem text,
  -- What each GPU reported: uuid, product, memory, utilization, temperature, power.
  gpus jsonb NOT NULL DEFAULT '[]',
  CONSTRAINT probes_pkey PRIMARY KEY (id),
  CONSTRAINT probes_node_id_fkey FOREIGN KEY (node_id) REFERENCES nodes (id),
  CONSTRAINT probes_gpu_count_natural CHECK (gpu_count >= 0),
  CONSTRAINT probes_failure_has_problem CHECK (ok OR problem IS NOT NULL)
);
CREATE INDEX probes_node_id_id_idx ON probes (node_id, id);
CREATE INDEX probes_at_idx ON probes (at);

-- GPUs as nvidia-smi names them, with the memory it prints.
INSERT INTO gpu_models (code, name, memory_mib, product_names) VALUES
  ('a100-sxm4-40gb', 'NVIDIA A100-SXM4-40GB', 40960, '{NVIDIA A100-SXM4-40GB,A100-SXM4-40GB}'),
  ('a100-sxm4-80gb', 'NVIDIA A100-SXM4-80GB', 81920, '{NVIDIA A100-SXM4-80GB,A100-SXM4-80GB}'),
  ('a100-pcie-80gb', 'NVIDIA A100 80GB PCIe', 81920, '{NVIDIA A100 80GB PCIe}'),
  ('h100-pcie-80gb', 'NVIDIA H100 PCIe', 81559, '{NVIDIA H100 PCIe}'),
  ('h100-sxm5-80gb', 'NVIDIA H100 80GB HBM3', 81559, '{NVIDIA H100 80GB HBM3}'),
  ('l4', 'NVIDIA L4', 23034, '{NVIDIA L4}'),
  ('l40s', 'NVIDIA L40S', 46068, '{NVIDIA L40S}'),
  ('rtx-4000-sff-ada', 'NVIDIA RTX 4000 SFF Ada Generation', 20475, '{NVIDIA RTX 4000 SFF Ada Generation}'),
  ('t4', 'NVIDIA T4', 15360, '{Tesla T4,NVIDIA T4}');

GRANT SELECT ON regions, gpu_models, nodes, slots, slot_releases, probes TO inventory_app;
GRANT INSERT ON regions, nodes, slots, slot_releases, probes TO inventory_app;
GRANT UPDATE (host, port, username, state, health, host_key_fingerprint, misses, event_seq, probe_due_at, probe_token,
  probe_leased_until) ON nodes TO inventory_app;
GRANT UPDATE (index, gpu_model_code, state, generation, allocation_id, run, organization_id, changed_at)
  ON slots TO inventory_app;
-- For retention.
GRANT DELETE ON slot_releases, probes TO inventory_app;
