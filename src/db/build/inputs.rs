//! Queues the inputs of queued builds, for specs with `queue-inputs`.
//!
//! An input that nobody has wanted becomes a build as well, one level after the other, so that
//! substitute servers are asked for an input before its own inputs are wanted. Such a build is
//! named after its derivation and refers to the build that needs it. Without `queue-inputs`, the
//! coordinator builds the inputs.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::clock::Seconds;
use crate::db::build::guard::guard;
use crate::db::{BuildId, BuildState, Db, DerivationId, Error, Result, SpecId, Tx, rows};
use crate::guix::edges;

/// Builds to process in one transaction.
const PIECE: i64 = 1000;

/// A build whose inputs have not been wanted yet: its derivation, and the encoded inputs.
type Row = (BuildId, DerivationId, Vec<u8>);

impl Db {
    /// Wants the inputs of queued builds of these specs that nobody has wanted so far, that were
    /// canceled, that failed only with another derivation, or that wait with a worse one. The
    /// inputs of those inputs follow once they are queued. `state` is [`BuildState::Pending`] or
    /// [`BuildState::Queued`]. Returns the number of builds that were processed; if it is not 0,
    /// there may be more.
    pub async fn queue_inputs(&self, specs: &[SpecId], state: BuildState, now: Seconds) -> Result<usize> {
        let next = sql!(
            "select b.id, d.id, d.inputs from build b join evaluation e on e.id = b.evaluation_id
               join derivation d on d.id = b.derivation_id
             where b.state in {in_queue} and not b.inputs_queued and e.spec_id in ids($1) order by b.id limit $2"
        );
        let specs = rows(specs.iter().map(|id| Value::from(id.0)));
        let found: Vec<Row> = each!(&self.readers, pool, next =>
            sqlx::query_as(next).bind(&specs).bind(PIECE).fetch_all(pool).await?);
        if found.is_empty() {
            return Ok(0);
        }
        let lines = needed_by(&found)?;
        let mut tx = self.begin().await?;
        name_inputs(&mut tx, &lines).await?;
        if queue_new(&mut tx, &lines, state, now).await? > 0 {
            // Other builds may need the new builds sooner: mark the plan as out of date.
            execute!(&mut tx, "update plan set seen = ''");
        }
        let ids = rows(found.iter().map(|(build, ..)| Value::from(build.0)));
        execute!(&mut tx, sql!("update build set inputs_queued = true where id in ids($1)"), ids);
        guard(&mut tx).await?;
        tx.commit().await?;
        Ok(found.len())
    }
}

/// A line for each input of these builds: the derivation, and the first build that needs it.
fn needed_by(builds: &[Row]) -> Result<String> {
    let mut needed_by: HashMap<i64, BuildId> = HashMap::new();
    for (build, derivation, inputs) in builds {
        let damaged = |error: edges::Damaged| Error::Damaged {
            what: format!("derivation {derivation}"),
            reason: error.to_string(),
        };
        for input in edges::decode(inputs).map_err(damaged)? {
            needed_by.entry(input).or_insert(*build);
        }
    }
    Ok(rows(needed_by.iter().map(|(input, build)| json!({ "input": input, "build": build }))))
}

/// Stores the names of inputs that are new.
async fn name_inputs(tx: &mut Tx, lines: &str) -> Result<()> {
    let sql = sql!(
        "insert into job_name (id, name)
         select (select coalesce(max(id), 0) from job_name) + row_number() over (order by new.name), new.name
         from (select distinct d.name || '.drv' as name from records($1: input bigint) as l
                 join derivation d on d.id = l.input) as new
         where not exists (select 1 from job_name n where n.name = new.name)"
    );
    execute!(tx, sql, lines);
    Ok(())
}

/// Wants a build for each input. Returns the number of builds that got `state`.
async fn queue_new(tx: &mut Tx, lines: &str, state: BuildState, now: Seconds) -> Result<u64> {
    let sql = sql!(
        "insert into build (output_set_id, derivation_id, evaluation_id, name_id, priority, urgency,
           state, created_at, needed_by)
         select new.output_set_id, new.id, u.evaluation_id, n.id, u.priority, u.urgency, $2, $3, u.id
         from (select d.id, d.name, d.output_set_id, l.build,
                 row_number() over (partition by d.output_set_id order by d.id) as place
               from records($1: input bigint, build bigint) as l join derivation d on d.id = l.input) as new
           join build u on u.id = new.build join job_name n on n.name = new.name || '.drv'
         where new.place = 1
         on conflict (output_set_id) do update set needed_by = excluded.needed_by, ",
        wanted_anew!("excluded"),
        " where build.state in ('canceling', 'canceled') or ",
        is_better!()
    );
    Ok(execute!(tx, sql, lines, state, now))
}
