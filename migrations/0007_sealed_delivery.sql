-- Sealed delivery: the trusted key that a slot's tokens are encrypted to. Not a foreign key: a change of password may
-- empty the trusted keys, and the name that is left then says that the tokens stay, not that they leave in plain.
-- Replicas of the version before don't know this column and would deliver in plain: it is null until all are new.
alter table slots add column seal_to text;
