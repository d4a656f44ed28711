-- Refreshing: a grant says when somebody must look at it next, and who is at it.

-- Numbers of leases. One sequence for all grants: a grant that is erased and given anew never sees a number again, so
-- that who refreshed the one before can't store into it.
create sequence refresh_fences;

alter table grants
    -- When to look at it next: to refresh it, or to see that a new one, or a new configuration, is there. While it is
    -- leased, when the lease ends. Null: never. The default is for replicas of the version before this one.
    add column refresh_at timestamptz default 'epoch',
    -- When refresh_at was written. In the future: by a clock that was wrong.
    add column refresh_set_at timestamptz not null default 'epoch',
    -- Who is asked, for fairness between providers; null: not known yet.
    add column refresh_host text,
    -- Who holds this number may end the refresh; others took it over, or the grant is another one by now.
    add column refresh_fence bigint not null default nextval('refresh_fences'),
    -- Until then somebody asks the provider; past: whoever it was has died. Null: nobody does.
    add column refresh_lease_until timestamptz,
    -- Attempts in a row that brought no tokens, and of which kind the last one was.
    add column refresh_failures integer not null default 0 check (refresh_failures >= 0),
    add column refresh_trouble text check (refresh_trouble in ('provider', 'configuration')),
    -- The provider, or a wrong configuration, asks for a rest until then: nobody asks before, whoever wants a token.
    add column refresh_hold_until timestamptz,
    -- When a refresh last brought tokens.
    add column refreshed_at timestamptz,
    add check (refresh_lease_until is null or refresh_at is not null),
    add check ((refresh_failures = 0) = (refresh_trouble is null));

-- What is due? Idle grants that will never be are not in it.
create index grants_refresh_at on grants (refresh_at) where refresh_at is not null;
-- What did a clock write that was ahead?
create index grants_refresh_set_at on grants (refresh_set_at) where refresh_at is not null;
