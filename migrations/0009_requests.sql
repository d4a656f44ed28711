-- Requests of web services to plugins, and commands for hubs.

-- Sealed: what a web service must prove before its request is brought to the slot's plugin, and whether any is. Null
-- where nobody has decided: then anyone may send.
alter table slots add column webhook bytea;

-- The replicas that run. A replica whose `seen_at` is a minute old is gone. Without another one a request for who is
-- not connected here needs no row below, and its sender no patience.
create unlogged table relay_replicas (
    id uuid primary key,
    seen_at timestamptz not null
);

-- What one replica was asked and another one, which has the plugin's connection, brings and answers. A row lives for
-- the half minute that somebody waits, and nothing in it is worth keeping: hence unlogged, and empty after a crash of
-- the database. Frame and answer are sealed; the frame goes when a replica takes it.
create unlogged table relay_requests (
    id uuid primary key,
    -- The replica that waits for the answer.
    asked_by uuid not null,
    device uuid not null,
    -- Null: for whoever speaks for the whole device.
    slot text,
    wanted text not null check (wanted in ('response', 'outcome', 'nothing')),
    frame bytea,
    answer bytea,
    expires_at timestamptz not null,
    -- Taken once its frame is gone; answered only then.
    check (answer is null or frame is null)
);
-- Which wait to be taken?
create index relay_requests_waiting on relay_requests (expires_at) where frame is not null;
-- Which can be forgotten?
create index relay_requests_expires_at on relay_requests (expires_at);
