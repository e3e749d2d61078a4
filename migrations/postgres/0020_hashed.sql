-- Those of before, in the place of which the three new ones stand.
drop index derivation_hash;
drop index store_item_hash;
drop index output_set_first;
