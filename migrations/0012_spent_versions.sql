-- The highest version that a slot of the device had when it was deleted, and one more for the `unlinked` that told of it.
-- A new slot begins above it: for whoever remembers a name's versions they only grow, also where the name is used again.
-- One mark a device, not one a name, as names that are gone would add up without a bound.
alter table devices add column versions_spent bigint not null default 0 check (versions_spent >= 0);
