-- no-transaction
create index concurrently if not exists output_set_by_first on output_set
  using hash (substr(outputs, position(' ' in outputs) + 1, 12));
