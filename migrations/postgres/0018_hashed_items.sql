-- no-transaction
create index concurrently if not exists store_item_by_hash on store_item using hash (hash);
