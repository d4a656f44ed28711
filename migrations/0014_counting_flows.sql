-- Statements about one flow were planned by this index now and then, since their conditions on the status imply its own:
-- full of what vacuum has still to take away, it costs them more than the key does. And who starts a flow counted twice.
drop index flows_under_way;

-- As before, in one pass over the device's flows. Its plan is kept, so it must not be the one for a table that is still
-- small: that reads all flows of all devices until the table is analysed.
create or replace function may_start_flow(of_device uuid, at timestamptz, most_open bigint, recently timestamptz, most_started bigint)
    returns boolean language plpgsql volatile set enable_seqscan = off as $$
begin
    return (select count(*) filter (where status in ('pending', 'authorizing', 'exchanging', 'confirm') and expires_at > at) < most_open
            and count(*) filter (where created_at > recently) < most_started
        from flows where device = of_device);
end $$;
