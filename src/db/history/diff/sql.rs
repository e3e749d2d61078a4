//! What is read of the jobs of two evaluations: columns, each as one text, which takes less time than rows.

/// Numbers of all rows found. PostgreSQL takes longer for JSON than for texts.
macro_rules! numbers {
    (sqlite $expression:expr) => {
        concat!("json_group_array(", $expression, ")")
    };
    (postgres $expression:expr) => {
        concat!("concat('[', string_agg(cast(", $expression, " as text), ','), ']')")
    };
}

/// Texts of all rows found.
macro_rules! texts {
    (sqlite $expression:expr) => {
        concat!("json_group_array(", $expression, ")")
    };
    (postgres $expression:expr) => {
        concat!("cast(coalesce(json_agg(", $expression, "), '[]') as text)")
    };
}

/// Hashes and names of the derivations of all rows found, with slashes between. Paths are put together faster elsewhere.
macro_rules! derivations {
    (sqlite) => {
        "coalesce(group_concat(d.hash || d.name, '/'), '')"
    };
    (postgres) => {
        "coalesce(string_agg(d.hash || d.name, '/'), '')"
    };
}

/// Finds intervals, `found`: their numbers in SQLite, whose index has these, and in their order, since what is read for
/// neighbours stands close together, too.
macro_rules! find {
    (sqlite $open:expr, $closed:expr) => {
        concat!(
            "with found as (select id from job_interval where sequence_id = $1 and last_evaluation is null and ",
            $open,
            " union all select id from job_interval where sequence_id = $1 and ",
            $closed,
            " order by id)"
        )
    };
    (postgres $open:expr, $closed:expr) => {
        concat!(
            "with found as (select * from job_interval where sequence_id = $1 and last_evaluation is null and ",
            $open,
            " union all select * from job_interval where sequence_id = $1 and ",
            $closed,
            ")"
        )
    };
}

/// Joins the intervals found, `its`, and their derivations, one by one: PostgreSQL takes these for more than they are,
/// since systems begin with different evaluations, and would read all derivations (`offset 0` keeps it from that).
macro_rules! with_derivations {
    (sqlite) => {
        " from found cross join job_interval its on its.id = found.id cross join derivation d on d.id = its.derivation_id"
    };
    (postgres) => {
        " from found its cross join lateral (select * from derivation where id = its.derivation_id offset 0) d"
    };
}

/// Joins names of jobs and versions of packages.
macro_rules! with_words {
    (sqlite) => {
        " left join job_name n on n.id = its.name_id left join job_metadata f on f.id = its.metadata_id"
    };
    (postgres) => {
        " left join lateral (select name from job_name where id = its.name_id offset 0) n on true
          left join lateral (select version from job_metadata where id = its.metadata_id offset 0) f on true"
    };
}

/// The columns of `Common`.
macro_rules! common {
    ($database:ident) => {
        concat!(
            numbers!($database "its.name_id"),
            ", ",
            numbers!($database "d.id"),
            ", ",
            numbers!($database "d.output_set_id")
        )
    };
}

/// Reads `Only`, in columns, for each job of the evaluation $2 of the sequence $1, whose path is $3. When the
/// evaluation $5 of the sequence $4 is of the same sequence, what contains both is passed over, and not even looked at:
/// of what contains the one, that is what goes on to the other.
macro_rules! jobs_only_in {
    ($database:ident) => {
        concat!(
            find!($database
                "first_evaluation <= $2 and first_evaluation > case when $1 = $4 then $5 else 0 end",
                "on_path($3) and last_evaluation >= $2 and first_evaluation <= $2
                 and last_evaluation < case when $1 = $4 and $5 >= $2 then $5 else 9223372036854775807 end
                 and first_evaluation > case when $1 = $4 and $5 < $2 then $5 else 0 end"
            ),
            " select ",
            common!($database),
            ", ",
            texts!($database "n.name"),
            ", ",
            texts!($database "f.version"),
            ", ",
            derivations!($database),
            with_derivations!($database),
            with_words!($database)
        )
    };
}

/// Reads `Common`, in columns, for each job that all evaluations from $2 to $3 of the sequence $1 have; the path of $2 is
/// $4.
macro_rules! jobs_in_both {
    ($database:ident) => {
        concat!(
            find!($database
                "first_evaluation <= $2",
                "on_path($4) and last_evaluation >= $3 and first_evaluation <= $2"
            ),
            " select ",
            common!($database),
            with_derivations!($database)
        )
    };
}

/// Reads `Common`, in columns, for each of those jobs with one of the sets of outputs $4. `+ 0` keeps SQLite from
/// reading all jobs of the sequence for each.
macro_rules! jobs_in_both_with {
    ($database:ident, $outputs:literal) => {
        concat!(
            " select ",
            common!($database),
            " from ",
            $outputs,
            " cross join derivation d join job_interval its on its.derivation_id = d.id
             where d.output_set_id = wanted.value and its.sequence_id + 0 = $1 and its.first_evaluation <= $2
               and (its.last_evaluation is null or its.last_evaluation >= $3)"
        )
    };
}
