-- The owner's console shows what was recorded of one slot, device or plugin.

-- What was recorded of this subject, newest first?
create index audit_of_subject on audit (subject, id);
