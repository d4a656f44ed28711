-- Signing people in from a terminal: an attempt waits until somebody signs in on a page, then earns one access token.
-- And access tokens that were given back before their time.

-- One attempt to sign in. Codes, states and cookies are kept as hashes; other columns of type bytea are sealed.
create table sign_ins (
    id uuid primary key,
    -- With what the terminal gets its token: it polls (RFC 8628), or a browser brings it a code (RFC 8252).
    kind text not null check (kind in ('device_code', 'authorization_code')),
    status text not null check (status in ('pending', 'approved', 'denied', 'redeemed')),
    client_id text,
    -- 'owner' or 'device:ID'; null: whoever signs in decides.
    asked text,
    -- Where the terminal called from.
    network text not null,
    created_at timestamptz not null,
    -- Until then somebody can sign in, and what that earned can be taken.
    expires_at timestamptz not null,
    -- Until then a code that comes again is recognised.
    forget_at timestamptz not null,
    -- With a device code. The user code is shown again for comparing.
    device_code_hash bytea unique,
    user_code_hash bytea unique,
    user_code bytea,
    poll_seconds integer check (poll_seconds between 5 and 600),
    polled_at timestamptz,
    -- With an authorization code.
    redirect_uri text,
    client_state bytea,
    code_challenge text,
    code_hash bytea unique,
    -- The browser that posted to its page first; no other can go on.
    browser_hash bytea,
    -- While that browser is at the OpenID provider: what it must bring back, and nonce and verifier.
    provider_state_hash bytea unique,
    provider_secrets bytea,
    -- Whom the token speaks for.
    granted text check (granted in ('owner', 'device')),
    device uuid,
    -- The number of the device's newest revocation when somebody signed in.
    issued_after bigint,
    reason text check (reason in ('cancelled', 'not_allowed')),
    token_id uuid,
    check ((kind = 'device_code') = (device_code_hash is not null)),
    check ((kind = 'device_code') = (user_code_hash is not null)),
    check ((kind = 'device_code') = (user_code is not null)),
    check ((kind = 'device_code') = (poll_seconds is not null)),
    check ((kind = 'authorization_code') = (redirect_uri is not null)),
    check ((kind = 'authorization_code') = (code_challenge is not null)),
    check (status = 'pending' or browser_hash is not null),
    check ((provider_state_hash is null) = (provider_secrets is null)),
    check (status = 'pending' or provider_state_hash is null),
    check ((status in ('approved', 'redeemed')) = (granted is not null)),
    check ((granted is not distinct from 'device') = (device is not null)),
    check ((granted is null) = (issued_after is null)),
    check ((code_hash is not null) = (kind = 'authorization_code' and granted is not null)),
    check ((status = 'denied') = (reason is not null)),
    check ((status = 'redeemed') = (token_id is not null))
);
-- How many are open?
create index sign_ins_expires_at on sign_ins (expires_at);
-- Which can be forgotten?
create index sign_ins_forget_at on sign_ins (forget_at);

-- Access tokens that were revoked one by one (RFC 7009), by `jti`, until they would have expired. Apart from
-- `revocations`, which void all tokens of a device by order of issue; replicas read both every two seconds.
create table revoked_tokens (
    id uuid primary key,
    forget_at timestamptz not null
);
-- Which can be forgotten?
create index revoked_tokens_forget_at on revoked_tokens (forget_at);
