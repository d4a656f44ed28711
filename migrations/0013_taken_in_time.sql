-- Until when a request of another replica may be taken: two seconds after it was posted, however long somebody waits for
-- its answer (`expires_at`). By the clock of the database, since those of replicas may differ by more. The default is for
-- replicas of the version before, which do not name it.
alter table relay_requests add column take_by timestamptz not null default now() + interval '2 seconds';

-- Which wait to be taken, page by page?
drop index relay_requests_waiting;
create index relay_requests_waiting on relay_requests (take_by, id) where frame is not null;
