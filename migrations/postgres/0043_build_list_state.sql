-- no-transaction
create index concurrently if not exists build_state on build (state, evaluation_id);
