-- `build_evaluation_state` stands in its place.
drop index build_evaluation;
create index evaluation_spec on evaluation (spec_id, id);
create index evaluation_system on evaluation (system, id);
