-- Whether a device may start one more flow. Called by the statement that starts it, once that holds the device: a function
-- that is volatile looks at what was committed by then, not when the statement began, so that starts that came at once
-- count each other. In plpgsql, because its plan is kept.
create function may_start_flow(of_device uuid, at timestamptz, most_open bigint, recently timestamptz, most_started bigint)
    returns boolean language plpgsql volatile as $$
begin
    return (select count(*) from flows where device = of_device
                and status in ('pending', 'authorizing', 'exchanging', 'confirm') and expires_at > at) < most_open
        and (select count(*) from flows where device = of_device and created_at > recently) < most_started;
end $$;
