-- no-transaction
create index concurrently if not exists build_name on build (name_id);
