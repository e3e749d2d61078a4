use serde_json::json;

use crate::db::{Db, Result, SpecId, rows, stored};
use crate::domain::spec::Spec;

/// A spec in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSpec {
    /// The number of the spec.
    pub id: SpecId,
    /// The definition that was given last.
    pub spec: Spec,
    /// Whether it was among the specs given last.
    pub present: bool,
}

impl Db {
    /// Makes `specs` the present ones. A spec is identified by its name. Pending evaluations are
    /// deleted if their spec is gone, or no longer has their system.
    pub async fn sync_specs(&self, specs: &[Spec]) -> Result<()> {
        let given = rows(specs.iter().map(|spec| {
            json!({
                "name": spec.name, "definition": json!(spec).to_string(),
                "priority": spec.priority, "active": spec.active,
            })
        }));
        let wanted = rows(specs.iter().flat_map(|spec| {
            spec.systems.iter().map(|system| json!({ "name": spec.name, "system": system }))
        }));
        let mut tx = self.begin().await?;
        execute!(&mut tx, "update spec set present = false");
        execute!(
            &mut tx,
            sql!(
                "insert into spec (name, definition, priority, active, present)
                 select name, definition, priority, active, true
                 from records($1: name text, definition text, priority bigint, active boolean) as given where true
                 on conflict (name) do update set definition = excluded.definition,
                   priority = excluded.priority, active = excluded.active, present = true"
            ),
            &given
        );
        execute!(
            &mut tx,
            sql!(
                "delete from evaluation where state = 'pending' and (spec_id, system) not in
                   (select s.id, wanted.system from records($1: name text, system text) as wanted
                      join spec s on s.name = wanted.name)"
            ),
            &wanted
        );
        tx.commit().await
    }

    /// All specs that ever existed, by name.
    pub async fn specs(&self) -> Result<Vec<StoredSpec>> {
        const SQL: &str = "select id, name, definition, present from spec order by name";
        let rows: Vec<(SpecId, String, String, bool)> =
            each!(&self.readers, pool => sqlx::query_as(SQL).fetch_all(pool).await?);
        let read = |(id, name, definition, present): (SpecId, String, String, bool)| {
            Ok(StoredSpec { id, spec: stored(&definition, || format!("spec {name}"))?, present })
        };
        rows.into_iter().map(read).collect()
    }
}
