-- Who keeps a slot's tokens, and what is still to be revoked at a provider.

-- Of the effective configuration, which is sealed: the statement that acknowledges must know whether it hands the
-- tokens over. Slots from before count as the broker's until their configuration changes.
alter table slots add column custody text not null default 'broker' check (custody in ('broker', 'device'));

-- What was erased here and lives on at its provider (RFC 7009). Written by the transaction that erases, so that a
-- crash loses neither; no reference to a slot, which may be gone. A row is deleted once the provider has answered, or
-- when its time is up.
create table revocation_jobs (
    id uuid primary key,
    -- For the audit record.
    device uuid not null,
    slot text not null,
    -- What the tokens were obtained under: nothing newer decides where they go.
    configuration bytea not null,
    variables jsonb not null,
    tokens bytea not null,
    tries integer not null default 0 check (tries >= 0),
    -- Whoever tries moves this on first: that is its lease.
    next_try_at timestamptz not null,
    give_up_at timestamptz not null
);
-- Which are due?
create index revocation_jobs_next_try_at on revocation_jobs (next_try_at);
