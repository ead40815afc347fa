-- People, organizations, the values of policies, and the authorities that sign SSH certificates.

CREATE TABLE users (
  id uuid NOT NULL,
  name text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT users_pkey PRIMARY KEY (id),
  CONSTRAINT users_name_length CHECK (char_length(name) BETWEEN 1 AND 200)
);

-- Who a token's issuer and subject are here.
CREATE TABLE identity_links (
  issuer text NOT NULL,
  subject text NOT NULL,
  user_id uuid NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT identity_links_pkey PRIMARY KEY (issuer, subject),
  CONSTRAINT identity_links_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE INDEX identity_links_user_id_idx ON identity_links (user_id);

CREATE TABLE organizations (
  id uuid NOT NULL,
  name text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT organizations_pkey PRIMARY KEY (id),
  CONSTRAINT organizations_name_length CHECK (char_length(name) BETWEEN 1 AND 200)
);

CREATE TABLE memberships (
  id uuid NOT NULL,
  organization_id uuid NOT NULL,
  user_id uuid NOT NULL,
  role text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT memberships_pkey PRIMARY KEY (id),
  CONSTRAINT memberships_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
  CONSTRAINT memberships_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
  CONSTRAINT memberships_role CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER', 'BILLING', 'VIEWER'))
);
CREATE UNIQUE INDEX memberships_organization_id_user_id_key ON memberships (organization_id, user_id);
CREATE INDEX memberships_user_id_idx ON memberships (user_id);

-- What a person may do beyond organizations: those who run the platform.
CREATE TABLE platform_roles (
  user_id uuid NOT NULL,
  role text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT platform_roles_pkey PRIMARY KEY (user_id, role),
  CONSTRAINT platform_roles_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
  CONSTRAINT platform_roles_role CHECK (role IN ('operator'))
);

CREATE TABLE policy_values (
  id uuid NOT NULL,
  key text NOT NULL,
  scope text NOT NULL,
  organization_id uuid,
  version bigint NOT NULL DEFAULT 1,
  value jsonb NOT NULL,
  -- Which revision of the built-in defaults this is; null once somebody has set it.
  default_revision integer,
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT policy_values_pkey PRIMARY KEY (id),
  CONSTRAINT policy_values_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
  CONSTRAINT policy_values_key CHECK (key ~ '^[a-z]+(\.[a-z][a-z-]*)+$' AND char_length(key) <= 128),
  CONSTRAINT policy_values_scope CHECK (scope = CASE WHEN organization_id IS NULL THEN 'PLATFORM' ELSE 'ORGANIZATION' END),
  CONSTRAINT policy_values_version CHECK (version > 0)
);
CREATE UNIQUE INDEX policy_values_platform ON policy_values (key) WHERE organization_id IS NULL;
CREATE UNIQUE INDEX policy_values_organization ON policy_values (key, organization_id) WHERE organization_id IS NOT NULL;

-- The two keys that nodes trust: user sessions, and node administration.
CREATE TABLE ssh_authorities (
  name text NOT NULL,
  public_key text NOT NULL,
  -- platform/src/envelope.ts: the key itself is never at rest in the clear.
  private_key_enc text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT ssh_authorities_pkey PRIMARY KEY (name),
  CONSTRAINT ssh_authorities_name CHECK (name IN ('user', 'node')),
  CONSTRAINT ssh_authorities_sealed CHECK (private_key_enc LIKE 'v_%.%')
);
-- One number per certificate, of either authority: what a revocation list names.
CREATE SEQUENCE ssh_certificate_serials AS bigint;

GRANT SELECT, INSERT ON users, identity_links, organizations, memberships, platform_roles, policy_values, ssh_authorities TO policy_app;
GRANT UPDATE (name) ON users, organizations TO policy_app;
GRANT UPDATE (version, value, default_revision, updated_at) ON policy_values TO policy_app;
GRANT USAGE ON SEQUENCE ssh_certificate_serials TO policy_app;
