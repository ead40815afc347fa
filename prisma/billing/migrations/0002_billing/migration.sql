-- The money path: prices, the double-entry ledger, holds, meters and what they measured. Amounts are
-- micro-units of a currency. Runs as billing_owner with search_path = billing; the service runs as
-- billing_app.

CREATE TABLE price_versions (
  id uuid NOT NULL,
  gpu_model_code text NOT NULL,
  currency text NOT NULL,
  per_hour_micros bigint NOT NULL,
  valid_from timestamptz(3) NOT NULL,
  CONSTRAINT price_versions_pkey PRIMARY KEY (id),
  CONSTRAINT price_versions_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  CONSTRAINT price_versions_not_negative CHECK (per_hour_micros >= 0)
);
CREATE UNIQUE INDEX price_versions_gpu_model_code_currency_valid_from_key ON price_versions (gpu_model_code, currency, valid_from);

CREATE TABLE ledger_accounts (
  id uuid NOT NULL,
  -- Null for the house's own accounts.
  organization_id uuid,
  kind text NOT NULL,
  currency text NOT NULL,
  -- The sum of the account's entries, kept under this row's lock by post_transaction. The house's
  -- accounts are in every transaction: a kept balance would queue them all, so theirs is computed.
  posted_micros bigint,
  -- The sum of the account's placed holds, kept by a trigger on them.
  held_micros bigint NOT NULL DEFAULT 0,
  -- Since when what runs is being stopped for want of credit.
  depleted_at timestamptz(3),
  -- The last aggregateSeq given, under this row's lock.
  event_seq bigint NOT NULL DEFAULT 0,
  created_at timestamptz(3) NOT NULL,
  CONSTRAINT ledger_accounts_pkey PRIMARY KEY (id),
  CONSTRAINT ledger_accounts_kind_known CHECK (kind IN ('CREDIT', 'REVENUE', 'PROMOTION')),
  CONSTRAINT ledger_accounts_credit_is_a_tenants CHECK ((kind = 'CREDIT') = (organization_id IS NOT NULL)),
  CONSTRAINT ledger_accounts_balance_kept CHECK ((organization_id IS NULL) = (posted_micros IS NULL)),
  CONSTRAINT ledger_accounts_held_not_negative CHECK (held_micros >= 0),
  CONSTRAINT ledger_accounts_currency_form CHECK (currency ~ '^[A-Z]{3}$')
);
CREATE UNIQUE INDEX ledger_accounts_organization_id_kind_currency_key
  ON ledger_accounts (organization_id, kind, currency) NULLS NOT DISTINCT;

-- A tenant's account starts at zero, the house's without a kept balance: nobody says otherwise.
CREATE FUNCTION open_ledger_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.posted_micros := CASE WHEN NEW.organization_id IS NULL THEN NULL ELSE 0 END;
  NEW.held_micros := 0;
  RETURN NEW;
END
$$;
CREATE TRIGGER ledger_accounts_open BEFORE INSERT ON ledger_accounts
  FOR EACH ROW EXECUTE FUNCTION open_ledger_account();

-- `at` is a pure function of the cause, so that a retry meets its first attempt in the same partition.
CREATE TABLE ledger_transactions (
  id uuid NOT NULL,
  at timestamptz(3) NOT NULL,
  kind text NOT NULL,
  cause text NOT NULL,
  organization_id uuid,
  -- The transaction that this one undoes, or undoes in part.
  reverses_id uuid,
  posted_at timestamptz(3) NOT NULL,
  CONSTRAINT ledger_transactions_pkey PRIMARY KEY (id, at),
  CONSTRAINT ledger_transactions_kind_known CHECK (kind IN ('CREDIT', 'USAGE', 'REVERSAL')),
  CONSTRAINT ledger_transactions_reversal_is_linked CHECK ((kind = 'REVERSAL') = (reverses_id IS NOT NULL))
) PARTITION BY RANGE (at);
CREATE UNIQUE INDEX ledger_transactions_cause_at_key ON ledger_transactions (cause, at);
CREATE UNIQUE INDEX ledger_transactions_reverses_id_at_key ON ledger_transactions (reverses_id, at);

-- Without foreign keys: post_transaction alone writes here and checks them, and each would lock the
-- house's account rows at every posting and the referenced tables whenever a partition is attached.
CREATE TABLE ledger_entries (
  id uuid NOT NULL,
  -- The transaction's.
  at timestamptz(3) NOT NULL,
  transaction_id uuid NOT NULL,
  account_id uuid NOT NULL,
  organization_id uuid,
  amount_micros bigint NOT NULL,
  currency text NOT NULL,
  posted_at timestamptz(3) NOT NULL,
  CONSTRAINT ledger_entries_pkey PRIMARY KEY (id, at),
  CONSTRAINT ledger_entries_amount_moves CHECK (amount_micros <> 0)
) PARTITION BY RANGE (at);
CREATE INDEX ledger_entries_transaction_id_idx ON ledger_entries (transaction_id);
CREATE INDEX ledger_entries_account_id_id_idx ON ledger_entries (account_id, id);
CREATE INDEX ledger_entries_organization_id_id_idx ON ledger_entries (organization_id, id);

-- The same id as platform/src/ids.ts derives: the time in 48 bits, then SHA-256 of the cause.
CREATE FUNCTION derive_uuid(at timestamptz, cause text) RETURNS uuid LANGUAGE sql STABLE STRICT AS $$
  SELECT encode(set_byte(set_byte(raw, 6, get_byte(raw, 6) & 15 | 112), 8, get_byte(raw, 8) & 63 | 128), 'hex')::uuid
  FROM (
    SELECT substring(int8send((extract(epoch FROM at) * 1000)::bigint) FROM 3)
      || substring(sha256(convert_to(cause, 'UTF8')) FROM 7 FOR 10) AS raw
  ) AS it
$$;

-- The one door into the ledger.
--
-- Posts amounts[n] to accounts[n]; they sum to zero in each currency. The id is derived from `at` and
-- the cause: a second posting of the same transaction changes nothing and returns false, one of another
-- transaction under the same id is refused (23505). Holds the tenant's account row until the
-- transaction ends. Malformed calls are 22023, unbalanced ones 23514.
CREATE FUNCTION post_transaction(
  new_id uuid, new_at timestamptz, new_kind text, new_cause text, new_organization_id uuid,
  accounts uuid[], amounts bigint[], new_posted_at timestamptz, new_reverses_id uuid DEFAULT NULL
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = billing, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  -- Entries keep milliseconds; so must what the id is derived from.
  at_ms timestamptz(3) := new_at;
  is_same boolean;
BEGIN
  IF new_id IS DISTINCT FROM derive_uuid(at_ms, new_cause) THEN
    RAISE EXCEPTION 'transaction % does not derive from % and its time', new_id, new_cause USING ERRCODE = '22023';
  END IF;
  IF accounts IS NULL OR cardinality(accounts) < 2 OR cardinality(accounts) IS DISTINCT FROM cardinality(amounts)
    OR array_position(accounts, NULL) IS NOT NULL OR array_position(amounts, NULL) IS NOT NULL
    OR 0 = ANY (amounts) THEN
    RAISE EXCEPTION 'transaction % needs two or more entries that move something', new_id USING ERRCODE = '22023';
  END IF;
  IF to_regclass(format('billing.ledger_entries_%s', to_char(at_ms, 'YYYY_MM'))) IS NULL THEN
    PERFORM ensure_partitions(0, at_ms::date);
  END IF;

  -- In one order for all; the house's rows are not locked, since nothing of them changes.
  PERFORM FROM ledger_accounts WHERE id = ANY (accounts) AND organization_id IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE;
  IF EXISTS (
    SELECT FROM unnest(accounts) AS given(id) LEFT JOIN ledger_accounts AS account USING (id)
    WHERE account.id IS NULL OR account.organization_id IS DISTINCT FROM new_organization_id AND account.organization_id IS NOT NULL
  ) THEN
    RAISE EXCEPTION 'transaction % names an unknown or a foreign account', new_id USING ERRCODE = '22023';
  END IF;
  IF EXISTS (
    SELECT FROM unnest(accounts, amounts) AS given(id, amount) JOIN ledger_accounts USING (id)
    GROUP BY currency HAVING sum(amount) <> 0
  ) THEN
    RAISE EXCEPTION 'transaction % does not sum to zero', new_id USING ERRCODE = '23514';
  END IF;

  INSERT INTO ledger_transactions (id, at, kind, cause, organization_id, reverses_id, posted_at)
    VALUES (new_id, at_ms, new_kind, new_cause, new_organization_id, new_reverses_id, new_posted_at)
    ON CONFLICT (id, at) DO NOTHING;
  IF NOT FOUND THEN
    SELECT (kind, organization_id, reverses_id) IS NOT DISTINCT FROM (new_kind, new_organization_id, new_reverses_id)
      AND (SELECT array_agg(ARRAY[account_id::text, amount_micros::text] ORDER BY account_id, amount_micros)
        FROM ledger_entries WHERE transaction_id = new_id AND at = at_ms)
      = (SELECT array_agg(ARRAY[given.id::text, amount::text] ORDER BY given.id, amount)
        FROM unnest(accounts, amounts) AS given(id, amount))
      INTO is_same FROM ledger_transactions WHERE id = new_id AND at = at_ms;
    IF is_same IS NOT TRUE THEN
      RAISE EXCEPTION 'transaction % was posted with another content', new_id USING ERRCODE = '23505';
    END IF;
    RETURN false;
  END IF;

  INSERT INTO ledger_entries (id, at, transaction_id, account_id, organization_id, amount_micros, currency, posted_at)
    SELECT derive_uuid(at_ms, new_cause || '#' || given.n), at_ms, new_id, account.id, account.organization_id,
      given.amount, account.currency, new_posted_at
    FROM unnest(accounts, amounts) WITH ORDINALITY AS given(id, amount, n)
    JOIN ledger_accounts AS account ON account.id = given.id;
  UPDATE ledger_accounts AS account SET posted_micros = account.posted_micros + moved.amount
    FROM (SELECT id, sum(amount)::bigint AS amount FROM unnest(accounts, amounts) AS given(id, amount) GROUP BY id) AS moved
    WHERE account.id = moved.id AND account.organization_id IS NOT NULL;
  RETURN true;
END
$$;

-- The second line, whoever writes: at commit every touched transaction exists, has two entries or
-- more, and sums to zero in each currency.
CREATE FUNCTION check_ledger_balance() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = billing, pg_temp AS $$
DECLARE
  touched record;
BEGIN
  FOR touched IN
    SELECT OLD.transaction_id AS id, OLD.at AS at WHERE TG_OP <> 'INSERT'
    UNION SELECT NEW.transaction_id, NEW.at WHERE TG_OP <> 'DELETE'
  LOOP
    IF NOT EXISTS (SELECT FROM ledger_transactions WHERE id = touched.id AND at = touched.at)
      OR (SELECT count(*) < 2 FROM ledger_entries WHERE transaction_id = touched.id AND at = touched.at)
      OR EXISTS (SELECT FROM ledger_entries WHERE transaction_id = touched.id AND at = touched.at
        GROUP BY currency HAVING sum(amount_micros) <> 0) THEN
      RAISE EXCEPTION 'ledger transaction % does not balance', touched.id USING ERRCODE = '23514';
    END IF;
  END LOOP;
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER ledger_entries_balance AFTER INSERT OR UPDATE OR DELETE ON ledger_entries
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_ledger_balance();

-- Credit set aside for a run of an allocation. Its id derives from the run, so there is one for ever: a
-- row that was never placed (amount 0, VOIDED) keeps a late placing out.
CREATE TABLE holds (
  id uuid NOT NULL,
  allocation_id uuid NOT NULL,
  run integer NOT NULL,
  organization_id uuid NOT NULL,
  account_id uuid,
  state text NOT NULL,
  -- What it covers now: use is taken from it and topped up, while credit lasts.
  amount_micros bigint NOT NULL,
  -- What it is topped up to.
  full_micros bigint NOT NULL,
  gpu_model_code text,
  gpu_count integer,
  per_hour_micros bigint,
  placed_at timestamptz(3) NOT NULL,
  -- When it lapses unless its allocation runs; null from then on.
  expires_at timestamptz(3),
  ended_at timestamptz(3),
  CONSTRAINT holds_pkey PRIMARY KEY (id),
  CONSTRAINT holds_account_id_fkey FOREIGN KEY (account_id) REFERENCES ledger_accounts (id),
  CONSTRAINT holds_run_positive CHECK (run >= 1),
  CONSTRAINT holds_state_known CHECK (state IN ('PLACED', 'SETTLED', 'VOIDED', 'EXPIRED')),
  CONSTRAINT holds_amount_within CHECK (amount_micros BETWEEN 0 AND full_micros),
  CONSTRAINT holds_placed_is_whole CHECK (state = 'VOIDED'
    OR (account_id IS NOT NULL AND gpu_model_code IS NOT NULL AND gpu_count IS NOT NULL AND per_hour_micros IS NOT NULL)),
  CONSTRAINT holds_ended_when_over CHECK ((state = 'PLACED') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX holds_allocation_id_run_key ON holds (allocation_id, run);
CREATE INDEX holds_expires ON holds (expires_at) WHERE state = 'PLACED';

-- A hold ends once and for ever, and its account's held amount moves with it, whoever writes.
CREATE FUNCTION keep_held() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = billing, pg_temp AS $$
DECLARE
  before bigint := 0;
  after bigint := CASE WHEN NEW.state = 'PLACED' THEN NEW.amount_micros ELSE 0 END;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF OLD.state <> 'PLACED' OR OLD.account_id IS DISTINCT FROM NEW.account_id THEN
      RAISE EXCEPTION 'hold % is over', OLD.id USING ERRCODE = '23514';
    END IF;
    before := OLD.amount_micros;
  END IF;
  IF before <> after THEN
    UPDATE ledger_accounts SET held_micros = held_micros + after - before WHERE id = NEW.account_id;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER holds_keep_held AFTER INSERT OR UPDATE ON holds
  FOR EACH ROW EXECUTE FUNCTION keep_held();

-- One run of an allocation, from RUNNING to its end. Windows end on whole seconds after started_at.
CREATE TABLE meters (
  allocation_id uuid NOT NULL,
  run integer NOT NULL,
  started_at timestamptz(3) NOT NULL,
  organization_id uuid NOT NULL,
  account_id uuid NOT NULL,
  gpu_model_code text NOT NULL,
  gpu_count integer NOT NULL,
  currency text NOT NULL,
  per_hour_micros bigint NOT NULL,
  -- How far usage is posted.
  metered_seconds bigint NOT NULL DEFAULT 0,
  metered_until timestamptz(3) NOT NULL,
  -- The sum of the run's usage records, kept by a trigger on them.
  cost_micros bigint NOT NULL DEFAULT 0,
  ended_at timestamptz(3),
  CONSTRAINT meters_pkey PRIMARY KEY (allocation_id, run),
  CONSTRAINT meters_account_id_fkey FOREIGN KEY (account_id) REFERENCES ledger_accounts (id),
  CONSTRAINT meters_run_positive CHECK (run >= 1),
  CONSTRAINT meters_gpu_count_positive CHECK (gpu_count BETWEEN 1 AND 16),
  CONSTRAINT meters_price_not_negative CHECK (per_hour_micros >= 0),
  CONSTRAINT meters_metered_natural CHECK (metered_seconds >= 0),
  CONSTRAINT meters_metered_agrees CHECK (metered_until = started_at + make_interval(secs => metered_seconds)),
  CONSTRAINT meters_ends_after_start CHECK (ended_at >= started_at),
  CONSTRAINT meters_ended_is_metered CHECK (ended_at IS NULL
    OR metered_until <= ended_at AND ended_at < metered_until + interval '1 second')
);
CREATE UNIQUE INDEX meters_open ON meters (allocation_id) WHERE ended_at IS NULL;
CREATE INDEX meters_due ON meters (metered_until) WHERE ended_at IS NULL;

-- What was used within a window, and what it cost. Partitioned on the window's start, which its id
-- derives from.
CREATE TABLE usage_records (
  id uuid NOT NULL,
  window_start timestamptz(3) NOT NULL,
  window_end timestamptz(3) NOT NULL,
  allocation_id uuid NOT NULL,
  organization_id uuid NOT NULL,
  -- GPU, or GPU_REVERSAL: seconds that were posted and turn out to lie after the end.
  meter text NOT NULL,
  gpu_model_code text NOT NULL,
  gpu_seconds bigint NOT NULL,
  cost_micros bigint NOT NULL,
  currency text NOT NULL,
  -- Null when the window cost nothing.
  transaction_id uuid,
  CONSTRAINT usage_records_pkey PRIMARY KEY (id, window_start),
  CONSTRAINT usage_records_window_forward CHECK (window_start < window_end),
  CONSTRAINT usage_records_meter_known CHECK (meter IN ('GPU', 'GPU_REVERSAL')),
  CONSTRAINT usage_records_sign CHECK (gpu_seconds <> 0 AND (gpu_seconds > 0) = (meter = 'GPU')
    AND (cost_micros = 0 OR (cost_micros > 0) = (meter = 'GPU'))),
  CONSTRAINT usage_records_cost_is_posted CHECK ((cost_micros = 0) = (transaction_id IS NULL))
) PARTITION BY RANGE (window_start);
CREATE UNIQUE INDEX usage_records_allocation_id_meter_window_start_key ON usage_records (allocation_id, meter, window_start);
CREATE INDEX usage_records_organization_id_id_idx ON usage_records (organization_id, id);
CREATE INDEX usage_records_allocation_id_id_idx ON usage_records (allocation_id, id);

-- What a run has cost moves with what it is recorded to have used, reversals included, whoever
-- writes. A run's use is recorded before its meter is closed, and one is open at a time.
CREATE FUNCTION keep_cost() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = billing, pg_temp AS $$
BEGIN
  UPDATE meters SET cost_micros = cost_micros + NEW.cost_micros
    WHERE allocation_id = NEW.allocation_id AND ended_at IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'usage of allocation % has no open meter', NEW.allocation_id USING ERRCODE = '23503';
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER usage_records_keep_cost AFTER INSERT ON usage_records
  FOR EACH ROW EXECUTE FUNCTION keep_cost();

SELECT ensure_partitions(3);

INSERT INTO ledger_accounts (id, kind, currency, created_at) VALUES
  (derive_uuid('2026-01-01T00:00:00Z', 'house:REVENUE:USD'), 'REVENUE', 'USD', '2026-01-01T00:00:00Z'),
  (derive_uuid('2026-01-01T00:00:00Z', 'house:PROMOTION:USD'), 'PROMOTION', 'USD', '2026-01-01T00:00:00Z');

INSERT INTO price_versions (id, gpu_model_code, currency, per_hour_micros, valid_from)
  SELECT derive_uuid('2026-01-01T00:00:00Z', 'price:' || code || ':USD'), code, 'USD', per_hour_micros, '2026-01-01T00:00:00Z'
  FROM (VALUES
    ('a100-sxm4-40gb', 1290000), ('a100-sxm4-80gb', 1790000), ('a100-pcie-80gb', 1590000),
    ('h100-pcie-80gb', 2390000), ('h100-sxm5-80gb', 2990000), ('l4', 440000), ('l40s', 990000),
    ('rtx-4000-sff-ada', 260000), ('t4', 310000)
  ) AS catalogue (code, per_hour_micros);

REVOKE ALL ON FUNCTION post_transaction(uuid, timestamptz, text, text, uuid, uuid[], bigint[], timestamptz, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION post_transaction(uuid, timestamptz, text, text, uuid, uuid[], bigint[], timestamptz, uuid) TO billing_app;
GRANT SELECT ON price_versions, ledger_accounts, ledger_transactions, ledger_entries, holds, meters, usage_records TO billing_app;
-- Balances, transactions and entries are written by post_transaction alone; a price or a usage
-- record is never changed.
GRANT INSERT (id, organization_id, kind, currency, created_at) ON ledger_accounts TO billing_app;
GRANT UPDATE (depleted_at, event_seq) ON ledger_accounts TO billing_app;
GRANT INSERT ON holds, meters, usage_records TO billing_app;
GRANT UPDATE (state, amount_micros, expires_at, ended_at) ON holds TO billing_app;
GRANT UPDATE (metered_seconds, metered_until, ended_at) ON meters TO billing_app;
