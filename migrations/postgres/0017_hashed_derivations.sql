-- no-transaction
-- What is only looked for as a whole is found by an index that is hashed: it takes a third of the time to add to, since
-- nothing in it is in order, and does not depend on the collation of the database.
create index concurrently if not exists derivation_by_hash on derivation using hash (hash);
