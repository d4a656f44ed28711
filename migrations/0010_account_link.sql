-- Account link: Home Assistant's cloud client as a client of this broker. Both tables hold what is under way, and
-- nothing that lasts: Home Assistant keeps its tokens itself.

-- One attempt to link an account, told over one WebSocket. Columns as of flows; no slot, no device, no code to type.
create table account_links (
    id uuid primary key,
    service text not null,
    plugin text not null,
    plugin_name text not null,
    status text not null check (status in
        ('pending', 'authorizing', 'exchanging', 'granted', 'delivered', 'denied', 'expired', 'failed')),
    error text,
    -- What the plugin's configuration was at the start, with the scope that the client appended.
    configuration bytea not null,
    redirect_uri text not null,
    redirect_kind text not null check (redirect_kind in ('own', 'shared')),
    -- Where the client called from.
    client_network text not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    -- From `authorizing` on.
    state_hash bytea unique,
    browser_hash bytea,
    browser_network text,
    verifier bytea,
    -- While `exchanging`: whoever has not ended long after this is dead. Nobody takes it over, because the client's
    -- socket has gone with it, or starts again by itself.
    exchange_started_at timestamptz,
    -- While `granted`: until the client's socket has them.
    tokens bytea,
    finished_at timestamptz,
    check (status not in ('authorizing', 'exchanging', 'granted')
        or (state_hash is not null and browser_hash is not null)),
    check ((status = 'exchanging') = (exchange_started_at is not null)),
    check ((status = 'granted') = (tokens is not null)),
    check ((status in ('denied', 'failed')) = (error is not null)),
    check ((status in ('delivered', 'denied', 'expired', 'failed')) = (finished_at is not null))
);
-- How many are under way?
create index account_links_under_way on account_links (expires_at)
    where status in ('pending', 'authorizing', 'exchanging', 'granted');
-- Which can be forgotten?
create index account_links_expires_at on account_links (expires_at);

-- Refreshes of a minute ago, by what was presented: whoever presents it again is answered the same.
create table account_refreshes (
    -- Of the service and its refresh token.
    token_hash bytea primary key,
    -- Counts who asks the provider, so that one who was taken for dead stores nothing.
    attempt bigint not null default 1 check (attempt >= 1),
    -- Until then somebody asks the provider; past, without an answer: whoever it was has died.
    lease_until timestamptz not null,
    answer bytea,
    forget_at timestamptz not null
);
-- Which can be forgotten?
create index account_refreshes_forget_at on account_refreshes (forget_at);
