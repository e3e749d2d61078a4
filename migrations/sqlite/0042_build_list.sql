-- Takes long: indices for lists of builds, the newest evaluation first.
drop index build_evaluation;
create index build_evaluation_state on build (evaluation_id, state);
create index build_state on build (state, evaluation_id);
create index build_name on build (name_id);
create index evaluation_spec on evaluation (spec_id, id);
create index evaluation_system on evaluation (system, id);
