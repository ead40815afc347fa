-- What an organization holds is counted at each request, however much it has had before.
CREATE INDEX allocations_held ON allocations (organization_id) INCLUDE (gpu_count)
  WHERE state NOT IN ('RELEASED', 'FAILED');
