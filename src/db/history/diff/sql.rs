//! SQL that reads the jobs of two evaluations in columns, each as one text, which is faster than
//! rows.

/// The numbers of all found rows. PostgreSQL is slower with JSON than with texts.
macro_rules! numbers {
    (sqlite $expression:expr) => {
        concat!("json_group_array(", $expression, ")")
    };
    (postgres $expression:expr) => {
        concat!("concat('[', string_agg(cast(", $expression, " as text), ','), ']')")
    };
}

/// The texts of all found rows.
macro_rules! texts {
    (sqlite $expression:expr) => {
        concat!("json_group_array(", $expression, ")")
    };
    (postgres $expression:expr) => {
        concat!("cast(coalesce(json_agg(", $expression, "), '[]') as text)")
    };
}

/// Hashes and names of the derivations of all found rows, separated by slashes. Building the paths
/// elsewhere is faster.
macro_rules! derivations {
    (sqlite) => {
        "coalesce(group_concat(d.hash || d.name, '/'), '')"
    };
    (postgres) => {
        "coalesce(string_agg(d.hash || d.name, '/'), '')"
    };
}

/// Selects intervals as `found`. In SQLite these are only their numbers, because the index has
/// those. They are sorted, because rows that are read for neighbours are close together as well.
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

/// Joins the found intervals as `its` with their derivations, one by one. PostgreSQL overestimates
/// their number, because systems begin with different evaluations, and would read all derivations;
/// `offset 0` prevents that.
macro_rules! with_derivations {
    (sqlite) => {
        " from found cross join job_interval its on its.id = found.id cross join derivation d on d.id = its.derivation_id"
    };
    (postgres) => {
        " from found its cross join lateral (select * from derivation where id = its.derivation_id offset 0) d"
    };
}

/// Joins the names of jobs and the versions of packages.
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

/// Reads the columns of `Only` for each job of the evaluation $2 of the sequence $1; the path of $2
/// is $3. The other evaluation is $5 of the sequence $4. If the sequence is the same, intervals
/// that contain both evaluations are not even read: they are those that contain $2 and extend to
/// $5.
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

/// Reads the columns of `Common` for each job that all evaluations from $2 to $3 of the sequence $1
/// have; the path of $2 is $4.
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

/// Reads the columns of `Common` for each of those jobs with one of the sets of outputs $4. `+ 0`
/// keeps SQLite from reading all jobs of the sequence for each set.
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
