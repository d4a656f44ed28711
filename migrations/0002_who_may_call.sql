-- Who may call: logins by password, one-time codes for enrolment, and a record of who did what.

-- Each lets one device in. A code is deleted as it is spent, so what is here can still be used until it expires.
create table enrolment_codes (
    code_hash bytea primary key,
    expires_at timestamptz not null
);

-- Wrong passwords in a row, counted before each is looked at: by device and network for networks that logged in
-- before, and under '*' for all others together, so that strangers can't use up an owner's tries. No foreign key:
-- guesses at devices that don't exist are counted alike, so that the count doesn't tell which exist.
create table login_attempts (
    device uuid not null,
    network text not null,
    failures integer not null check (failures >= 0),
    -- Until then nothing is tried.
    retry_at timestamptz not null,
    -- When somebody last logged in from there; null for '*'.
    logged_in_at timestamptz,
    primary key (device, network),
    check ((network = '*') = (logged_in_at is null))
);

-- Null: whatever the tokens were obtained with, or the key in key_hash.
alter table revocations add column obtained_with text
    check (obtained_with is null or (obtained_with = 'password' and key_hash is null));

-- Who did what from where, without a secret. Subjects are names, not references: the record outlives them.
create table audit (
    id bigint generated always as identity primary key,
    at timestamptz not null,
    actor text not null,
    -- The caller's network, or that of a flow's browser.
    address text,
    action text not null,
    subject text,
    detail text
);
-- What is older than the retention?
create index audit_at on audit (at);
