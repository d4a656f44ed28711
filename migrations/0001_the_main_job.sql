-- The main job: plugins are installed into slots of devices; a flow links a slot; the grant holds its tokens.
-- Columns of type bytea that hold more than a hash are sealed (vault/envelope.rs): bound to table, column and row.

-- Proves at start that the configured vault keys are those this database was sealed under.
create table vault_checks (
    key_id text primary key,
    sealed bytea not null
);

-- Keys that sign cloudlink's own access tokens. Several at once while one is being replaced.
create table signing_keys (
    kid text primary key,
    pkcs8 bytea not null,
    created_at timestamptz not null,
    -- From here on tokens it signed are refused; null: it signs.
    retires_at timestamptz
);

create sequence claim_numbers;

-- The plugin store. The configuration is sealed whole: unknown members may be secrets too.
create table plugins (
    id text primary key,
    configuration bytea not null,
    -- What the configuration claims to speak for (the flow, 3); host labels may hold {name}.
    auth_origin text not null,
    token_origin text not null,
    client_id text not null,
    -- A quarantined plugin waits for the owner's approval on the shared redirect URI and claims nothing.
    quarantined boolean not null,
    approved_at timestamptz,
    -- The lower number claimed first and wins. Drawn while the table is locked: replicas' clocks differ.
    claim_number bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    check (not (quarantined and approved_at is not null))
);

-- Who else claims this authorization server?
create index plugins_auth_origin on plugins (auth_origin) where not quarantined;

create table devices (
    id uuid primary key,
    name text not null,
    password_hash text not null,
    created_at timestamptz not null
);

-- Public keys whose holder speaks for the device.
create table trusted_keys (
    device uuid not null references devices on delete cascade,
    key_hash text not null,
    label text not null,
    spki bytea not null,
    added_at timestamptz not null,
    last_used_at timestamptz,
    primary key (device, key_hash)
);

-- Spent `jti` of assertions, remembered until they could no longer be presented (RFC 7523 §3).
create table assertion_ids (
    id_hash bytea primary key,
    forget_at timestamptz not null
);
create index assertion_ids_forget_at on assertion_ids (forget_at);

-- Tokens obtained with a key (or, where key_hash is null, with anything) before `revoked_at` are void. Kept for as
-- long as such a token could live; replicas read what is new here every two seconds.
create table revocations (
    number bigint generated always as identity primary key,
    device uuid not null,
    key_hash text,
    revoked_at timestamptz not null,
    forget_at timestamptz not null
);
create index revocations_forget_at on revocations (forget_at);

-- A plugin installed on a device. Each change of configuration or tokens raises `version`.
create table slots (
    device uuid not null references devices on delete cascade,
    name text not null,
    -- No foreign key: a slot keeps working on its copy when the store's entry goes.
    plugin text not null,
    configuration bytea not null,
    overrides bytea not null,
    variables jsonb not null,
    -- When the copy or the overrides last changed: an approval of the plugin given later covers them.
    configured_at timestamptz not null,
    -- What the plugin's OAuth library uses at the broker's own token endpoint.
    client_id text not null unique,
    client_secret bytea not null,
    handle bytea not null,
    handle_hash bytea not null unique,
    status text not null check (status in ('unlinked', 'linked', 'reauthorize')),
    reason text,
    version bigint not null check (version >= 1),
    acked_version bigint not null check (acked_version between 0 and version),
    configuration_version bigint not null check (configuration_version between 1 and version),
    tokens_version bigint not null check (tokens_version between 0 and version),
    link_version bigint not null check (link_version between 0 and version),
    installed_at timestamptz not null,
    primary key (device, name),
    check ((status = 'reauthorize') = (reason is not null))
);

-- The tokens of a linked slot.
create table grants (
    device uuid not null,
    slot text not null,
    tokens bytea not null,
    scope text,
    expires_at timestamptz,
    obtained_at timestamptz not null,
    primary key (device, slot),
    foreign key (device, slot) references slots on delete cascade
);

-- One attempt to link a slot. What it will send, and where, is fixed when the browser goes to the provider.
create table flows (
    id uuid primary key,
    device uuid not null,
    slot text not null,
    plugin text not null,
    plugin_name text not null,
    status text not null
        check (status in ('pending', 'authorizing', 'exchanging', 'confirm', 'linked', 'denied', 'expired', 'failed')),
    error text,
    -- The effective configuration and variables at connect: the exchange uses these and nothing newer.
    configuration bytea not null,
    redirect_uri text not null,
    redirect_kind text not null check (redirect_kind in ('own', 'shared')),
    return_url text,
    binding text not null check (binding in ('page', 'code', 'adaptive')),
    device_network text not null,
    user_code_hash bytea not null unique,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    -- From `authorizing` on.
    state_hash bytea unique,
    browser_hash bytea,
    browser_network text,
    verifier bytea,
    -- While `exchanging`: what a replica needs to take over after a crash.
    callback bytea,
    attempt smallint not null default 0 check (attempt between 0 and 2),
    exchange_started_at timestamptz,
    redeemed_at timestamptz,
    -- While `confirm`.
    confirm_code bytea,
    confirm_failures smallint not null default 0,
    staged bytea,
    -- The slot's version that carries the new tokens, once `linked`.
    linked_version bigint,
    finished_at timestamptz,
    foreign key (device, slot) references slots on delete cascade,
    check (status not in ('authorizing', 'exchanging') or (state_hash is not null and browser_hash is not null)),
    check ((status = 'exchanging') = (callback is not null and exchange_started_at is not null)),
    check ((status = 'confirm') = (staged is not null and confirm_code is not null)),
    check ((status = 'linked') = (linked_version is not null)),
    check ((status in ('denied', 'failed')) = (error is not null))
);

-- How many flows of a device are under way?
create index flows_under_way on flows (device) where status in ('pending', 'authorizing', 'exchanging', 'confirm');
-- Which flows does a device, or a slot that goes, have?
create index flows_of_slot on flows (device, slot);
-- Which exchanges were left behind by a replica that died?
create index flows_exchanging on flows (exchange_started_at) where status = 'exchanging';
-- Which flows ran out, and which can be forgotten?
create index flows_expires_at on flows (expires_at);
