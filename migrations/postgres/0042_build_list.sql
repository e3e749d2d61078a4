-- no-transaction
create index concurrently if not exists build_evaluation_state on build (evaluation_id, state);
