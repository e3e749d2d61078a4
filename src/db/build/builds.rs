use crate::clock::Seconds;
use crate::db::build::failed::note_failures;
use crate::db::build::guard::guard;
use crate::db::build::live::spec_of;
use crate::db::log::event_log::{EventKind, log};
use crate::db::stored_system::stored_system;
use crate::db::{BuildId, BuildState, Db, DerivationId, Error, EvaluationId, Result, rows, stored};
use crate::domain::plan::order::unranked;
use crate::domain::revision::Revision;
use crate::domain::spec::System;

/// A recorded build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The number of the build.
    pub id: BuildId,
    /// Name of the spec that wanted it first.
    pub spec: String,
    /// The evaluation that wanted it first.
    pub evaluation: EvaluationId,
    /// The revision of that evaluation.
    pub revision: Revision,
    /// The system of that evaluation.
    pub system: System,
    /// The job that wanted it.
    pub job: String,
    /// Number of the derivation to build.
    pub derivation_id: DerivationId,
    /// Store path of the derivation.
    pub derivation: String,
    /// 0 (first) to 9 (last).
    pub priority: i64,
    /// The priority for the coordinator: larger is sooner.
    pub urgency: i64,
    /// The urgency that the coordinator was told last.
    pub sent_urgency: Option<i64>,
    /// When it became unwanted.
    pub unwanted_at: Option<Seconds>,
    /// The build that needs it, if no job wants it.
    pub needed_by: Option<BuildId>,
    /// The state of the build.
    pub state: BuildState,
    /// When it was queued, or recorded as known.
    pub created_at: Seconds,
    /// When the coordinator took or rejected it.
    pub answered_at: Option<Seconds>,
    /// The coordinator's identifier for it.
    pub reference: Option<String>,
    /// The coordinator's last answer, or why the coordinator could not be asked.
    pub answer: Option<String>,
    /// How often the coordinator was asked, including failed requests.
    pub attempts: i64,
    /// Not submitted before this time.
    pub next_attempt: Seconds,
    /// The coordinator that has it or is to get it; empty if none serves it, `None` until that is
    /// decided.
    pub coordinator: Option<String>,
    /// Whether that coordinator may have heard of it.
    pub sent: bool,
    /// Whether the coordinator may have one attempt that Gorget does not know: an answer is
    /// outstanding or lost.
    pub in_doubt: bool,
}

/// Which builds to list. An empty filter lists all.
#[derive(Debug, Clone, Default)]
pub struct QueueFilter {
    /// Only those that this spec wanted first.
    pub spec: Option<String>,
    /// Only those for this system.
    pub system: Option<System>,
    /// Only those in this state.
    pub state: Option<BuildState>,
    /// Only those of this coordinator.
    pub coordinator: Option<String>,
}

/// All columns of a [`Row`]; a condition may follow.
macro_rules! builds {
    () => {
        "select b.id, s.name as spec, b.evaluation_id, coalesce(e.channels, r.channels) as channels, e.system,
           n.name as job, b.derivation_id, derivation_path(d) as derivation, b.priority, b.urgency, b.sent_urgency,
           b.unwanted_at, b.needed_by, b.state, b.created_at, b.answered_at, b.reference, b.answer, b.attempts,
           b.next_attempt, b.coordinator, b.sent, b.in_doubt
         from build b join derivation d on d.id = b.derivation_id join evaluation e on e.id = b.evaluation_id
           join spec s on s.id = e.spec_id join revision r on r.id = e.revision_id join job_name n on n.id = b.name_id "
    };
}

#[derive(sqlx::FromRow)]
pub(in crate::db) struct Row {
    id: BuildId,
    spec: String,
    evaluation_id: EvaluationId,
    channels: String,
    system: String,
    job: String,
    derivation_id: DerivationId,
    derivation: String,
    priority: i64,
    urgency: i64,
    sent_urgency: Option<i64>,
    unwanted_at: Option<Seconds>,
    needed_by: Option<BuildId>,
    state: BuildState,
    created_at: Seconds,
    answered_at: Option<Seconds>,
    reference: Option<String>,
    answer: Option<String>,
    attempts: i64,
    next_attempt: Seconds,
    coordinator: Option<String>,
    sent: bool,
    in_doubt: bool,
}

impl TryFrom<Row> for Build {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        let place = |what: &str| format!("the {what} of build {}", row.id);
        Ok(Self {
            revision: stored(&row.channels, || place("revision"))?,
            system: stored_system(&row.system, || place("system"))?,
            id: row.id,
            spec: row.spec,
            evaluation: row.evaluation_id,
            job: row.job,
            derivation_id: row.derivation_id,
            derivation: row.derivation,
            priority: row.priority,
            urgency: row.urgency,
            sent_urgency: row.sent_urgency,
            unwanted_at: row.unwanted_at,
            needed_by: row.needed_by,
            state: row.state,
            created_at: row.created_at,
            answered_at: row.answered_at,
            reference: row.reference,
            answer: row.answer,
            attempts: row.attempts,
            next_attempt: row.next_attempt,
            coordinator: row.coordinator,
            sent: row.sent,
            in_doubt: row.in_doubt,
        })
    }
}

impl Build {
    /// The hash part of the derivation's store path, 32 characters.
    pub fn hash(&self) -> &str {
        let base_name = self.derivation.trim_start_matches("/gnu/store/");
        base_name.get(..32).unwrap_or(base_name)
    }
}

impl Db {
    /// Wants a build for each set of outputs that first appeared among the jobs of an evaluation,
    /// unless it was wanted before. A build is wanted again if another spec had only recorded it as
    /// known, if it was canceled, if a substitute server had it, or if it failed and a retry is
    /// due. So is a build that failed only with another derivation, and a waiting one if this
    /// derivation is better. With [`BuildState::Known`] as `state`, no build is wanted again;
    /// `state` can also be [`BuildState::Pending`] or [`BuildState::Queued`]. Returns the number of
    /// builds that got that state.
    ///
    /// A build that is being canceled is queued at once. If the coordinator has been told already,
    /// it has canceled the build before it gets it again, because the same step sends both, one
    /// after the other. If that step ends in between, a late event that the former attempt was
    /// canceled changes nothing.
    pub async fn queue_builds(
        &self,
        evaluation: EvaluationId,
        state: BuildState,
        now: Seconds,
    ) -> Result<u64> {
        // Only jobs that are new since the last call are examined: this is called many times while
        // an evaluation runs.
        const SEEN: &str = "update evaluation set unscheduled = false, scheduled_job =
            coalesce((select max(id) from job_interval where first_evaluation = $1), 0) where id = $1";
        let queue = sql!(
            "insert into build
              (output_set_id, derivation_id, evaluation_id, name_id, priority, urgency, state, created_at)
            select new.output_set_id, new.derivation_id, e.id, new.name_id, s.priority, $4, $2, $3
            from evaluation e join spec s on s.id = e.spec_id join
              (select d.output_set_id, j.derivation_id, j.name_id, j.first_evaluation, row_number() over
                 (partition by d.output_set_id order by j.derivation_id, j.name) as place
               from job j join derivation d on d.id = j.derivation_id
               where j.first_evaluation = $1 and j.id > (select scheduled_job from evaluation where id = $1)) as new
              on new.first_evaluation = e.id
            where new.place = 1
            on conflict (output_set_id) do update set ",
            wanted_anew!("excluded"),
            " where excluded.state <> 'known' and (build.state in ('canceling', 'canceled', 'substituted')
              or build.state = 'failed' and exists (failures(build, excluded.derivation_id)
                and f.evaluation_id <> excluded.evaluation_id and f.failed_at <= $5)
              or ",
            is_better!(),
            " or build.state = 'known' and (select spec_id from evaluation where id = build.evaluation_id)
               <> (select spec_id from evaluation where id = excluded.evaluation_id))"
        );
        let mut tx = self.begin().await?;
        let (spec, system) = spec_of(&mut tx, evaluation).await?;
        let place = spec.systems.iter().position(|other| other.as_str() == system);
        let place = place.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX);
        let urgency = unranked(spec.priority, place);
        let count = execute!(&mut tx, queue, evaluation, state, now, urgency, spec.retry_failed.up_to(now));
        execute!(&mut tx, SEEN, evaluation);
        guard(&mut tx).await?;
        if count > 0 {
            log(&mut tx, EventKind::Builds, None, None, now).await?;
        }
        tx.commit().await?;
        Ok(count)
    }

    /// The queued builds of a coordinator that may be submitted now: the most urgent first, then
    /// inputs before the derivations that need them, because derivations are numbered in that
    /// order. Paused builds are left out.
    pub async fn next_submissions(&self, coordinator: &str, now: Seconds, limit: i64) -> Result<Vec<Build>> {
        let sql = sql!(
            builds!(),
            "where b.state = 'queued' and b.coordinator = $1 and b.next_attempt <= $2
               and not exists (select 1 from pause where kind = 'submission') and not ",
            is_paused!("s", "e.system"),
            " order by b.urgency desc, b.derivation_id limit $3"
        );
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(coordinator).bind(now).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Build::try_from).collect()
    }

    /// Records that the coordinator rejected a build for good. If the derivation to build has
    /// changed since the request, the build stays queued and the coordinator is asked for the new
    /// one.
    pub async fn record_refusal(&self, build: &Build, answer: &str, now: Seconds) -> Result<()> {
        const SQL: &str = "update build set answer = $2, answered_at = $3, sent = false, in_doubt = false,
              attempts = attempts + 1, state = case derivation_id when $4 then 'rejected' else state end
            where id = $1 and state = 'queued'";
        let mut tx = self.begin().await?;
        if execute!(&mut tx, SQL, build.id, answer, now, build.derivation_id) > 0 {
            note_failures(&mut tx, [(build.id, build.hash())], now).await?;
        }
        tx.commit().await
    }

    /// Postpones builds that could not be submitted or canceled, or for which substitute servers
    /// could not be asked.
    pub async fn postpone(&self, ids: &[BuildId], reason: &str, next_attempt: Seconds) -> Result<()> {
        let sql = sql!(
            "update build set answer = $2, next_attempt = $3, attempts = attempts + 1
             where (state = 'pending' or state in {in_outbox}) and id in ids($1)"
        );
        let ids = rows(ids.iter().map(|id| serde_json::Value::from(id.0)));
        let mut tx = self.begin().await?;
        execute!(&mut tx, sql, &ids, reason, next_attempt);
        tx.commit().await
    }

    /// The builds that the filter selects, in the order of submission.
    pub async fn queue(&self, filter: &QueueFilter, limit: i64) -> Result<Vec<Build>> {
        let sql = sql!(
            builds!(),
            "where ($1 is null or s.name = $1) and ($2 is null or e.system = $2) and ($3 is null or b.state = $3)
               and ($4 is null or b.coordinator = $4)
             order by b.urgency desc, b.derivation_id limit $5"
        );
        let system = filter.system.as_ref().map(System::as_str);
        let rows: Vec<Row> = each!(&self.readers, pool, sql => sqlx::query_as(sql)
            .bind(&filter.spec).bind(system).bind(filter.state).bind(&filter.coordinator).bind(limit).fetch_all(pool).await?);
        rows.into_iter().map(Build::try_from).collect()
    }

    /// One build.
    pub async fn build(&self, id: BuildId) -> Result<Option<Build>> {
        let sql = sql!(builds!(), "where b.id = $1");
        let row: Option<Row> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(id).fetch_optional(pool).await?);
        row.map(Build::try_from).transpose()
    }
}
