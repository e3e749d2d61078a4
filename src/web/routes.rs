//! The table of all routes, with the purpose and the role of each. The router, the list of the API
//! in the help, and the test of refusals are made from it.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::Uri;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Map, Value};

use super::action::Wanted;
use super::api::Older;
use super::builds::{BuildQuery, RetryBody};
use super::caller::authorize;
use super::count::count;
use super::entry::{Entry, both, entry, with_body};
use super::lists::{ErrorQuery, PushQuery, SpecQuery};
use super::live::After;
use super::openapi::Exchange;
use super::problem::Problem;
use super::query_filters::QueryFilters;
use super::route::{Kind, Route};
use super::waivers::WaiverBody;
use super::{
    Failure, Shared, action, api, builds, coverage, cuirass, derivations, events, finish, health, hooks,
    lists, live, openapi, packages, pages, waivers,
};
use crate::db::{EvaluationId, PushId};
use crate::domain::access::Role;
use crate::view::access::{AuditEntry, CreatedToken, Pause, Token};
use crate::view::build::{Blocker, Build, Queue};
use crate::view::build_report::BuildReport;
use crate::view::coverage::{Coverage, MissingJobs};
use crate::view::derivation::Derivation;
use crate::view::diff::Comparisons;
use crate::view::errors::Errors;
use crate::view::evaluation::Evaluation;
use crate::view::explanation;
use crate::view::failures::Failures;
use crate::view::history::Span;
use crate::view::package::Package;
use crate::view::page::{Items, Page};
use crate::view::push::Push;
use crate::view::spec::Specs;
use crate::view::status::Status;
use crate::view::trouble::Trouble;
use crate::view::verdict::{Verdict, Waiver};

/// All routes.
pub fn routes() -> Vec<Route> {
    table().into_iter().map(|entry| entry.route).collect()
}

/// The description of the API.
async fn document() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let routes: Vec<(Route, Exchange)> =
            table().into_iter().map(|entry| (entry.route, entry.exchange)).collect();
        openapi::described(&routes).to_string()
    });
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

pub(super) fn router(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    let mut router = Router::new();
    for Entry { route, handler, .. } in table() {
        let mut handler = handler;
        if let Some(role) = route.role {
            handler = handler.layer(from_fn_with_state((Arc::clone(shared), role), authorize));
        }
        if route.kind == Kind::Page {
            handler = handler.layer(from_fn(pages::as_page));
        }
        handler = match route.kind {
            Kind::Page | Kind::Api | Kind::Compatible => {
                handler.layer(from_fn_with_state(Arc::clone(shared), finish::finish))
            }
            Kind::Asset => handler.layer(from_fn(finish::finish_asset)),
            Kind::Stream | Kind::Open => handler,
        };
        router = router.route(&route.path, handler.layer(from_fn_with_state(route.clone(), count)));
    }
    router.fallback(unknown)
}

/// The answer where there is no route.
async fn unknown(uri: Uri) -> Response {
    if uri.path().starts_with("/api/") {
        let text = "the API has nothing here\nhint: /api/v1/openapi.json has all of it";
        return Problem::missing(text).into_response();
    }
    Failure::NotFound.into_response()
}

fn table() -> Vec<Entry> {
    [pages_shown(), reading(), of_cuirass(), changing(), open()].into_iter().flatten().collect()
}

/// The pages, and their feeds.
#[rustfmt::skip]
fn pages_shown() -> Vec<Entry> {
    let page = (Kind::Page, "GET", Some(Role::Read));
    let admin_page = (Kind::Page, "GET", Some(Role::Admin));
    let api = (Kind::Api, "GET", Some(Role::Read));
    vec![
        entry(page, "/", "what is wrong and what is under way", get(pages::overview::page)),
        entry(page, "/specs", "all specs", get(pages::specs::page)),
        entry(page, "/specs/{name}", "one spec", get(pages::spec::page)),
        entry(page, "/evaluations/{id}", "one evaluation", get(pages::evaluation::page)),
        entry(page, "/evaluations/{id}/errors", "the errors of an evaluation", get(pages::errors::page)),
        entry(page, "/pushes", "pushes to branches", get(pages::pushes::page)),
        entry(page, "/packages/{name}", "a package over specs, systems and time", get(pages::package::page)),
        entry(page, "/derivations/{file}", "one derivation", get(pages::derivation::page)),
        entry(page, "/compare", "a form for two evaluations", get(pages::compare::form)),
        entry(page, "/compare/{range}", "two evaluations compared", get(pages::compare::page)),
        entry(page, "/branches", "whether branches may be merged", get(pages::verdict::list)),
        entry(page, "/branches/{name}", "whether one branch may be merged, and what keeps it from that", get(pages::verdict::page)),
        entry(api, "/branches.atom", "a feed of the verdicts on all branches", get(pages::feed::all)).gives_text("application/atom+xml"),
        entry(api, "/branches/{name}/verdicts.atom", "a feed of the verdicts on a branch", get(pages::feed::of_branch)).gives_text("application/atom+xml"),
        entry(page, "/queue", "the builds that are wanted", get(pages::queue::page)),
        entry(page, "/coverage", "what substitute servers have of the newest evaluations", get(pages::coverage::list)),
        entry(page, "/coverage/{name}", "what they have of a spec, and what is missing; takes `system` and `after`", get(pages::coverage::page)),
        entry(page, "/builds", "all builds, with filters", get(pages::builds::page)),
        entry(page, "/builds/{id}", "one build", get(pages::build::page)),
        entry(page, "/jobs", "a search for jobs", get(pages::job::search)),
        entry(page, "/jobs/{spec}/{system}/{job}", "why a job is queued, or is not", get(pages::job::page)),
        entry(page, "/farm", "hosts, coordinators, servers and branches", get(pages::farm::page)),
        entry(page, "/help/states", "what the states mean", get(pages::help::page)),
        entry(admin_page, "/admin/tokens", "the tokens", get(pages::admin::tokens)),
        entry(admin_page, "/admin/audit", "what people changed", get(pages::admin::audit)),
    ]
}

/// The answers for programs.
#[rustfmt::skip]
fn reading() -> Vec<Entry> {
    let api = (Kind::Api, "GET", Some(Role::Read));
    let admin_api = (Kind::Api, "GET", Some(Role::Admin));
    vec![
        entry(api, "/metrics", "the state of the farm for Prometheus", get(health::metrics)).gives_text("text/plain"),
        entry(api, "/api/v1/status", "what `gorget status --json` says; takes `spec` and `system`", get(api::status)).takes::<QueryFilters>("spec system").gives::<Status>(),
        entry(api, "/api/v1/trouble", "problems and pending decisions, worst first", get(api::all_trouble)).gives::<Vec<Trouble>>(),
        entry(api, "/api/v1/evaluations", "the newest evaluations; takes `spec`, `system`, `before` and `limit`", get(api::evaluations)).takes::<QueryFilters>("spec system").takes::<Older>("before limit").gives::<Page<Evaluation, EvaluationId>>(),
        entry(api, "/api/v1/evaluations/{id}/channels.scm", "its channels, for `guix time-machine -C`", get(api::channels)).gives_text("text/plain"),
        entry(api, "/api/v1/compare/{range}", "two evaluations compared, as `A..B`: numbers, commits, specs, branches or dates; takes `spec`", get(api::compare)).takes::<QueryFilters>("spec").gives::<Comparisons>(),
        entry(api, "/api/v1/specs/{name}/failures", "jobs that began to fail, still fail or were fixed; takes `system`", get(api::failures)).takes::<QueryFilters>("system").gives::<Items<Failures>>(),
        entry(api, "/api/v1/verdicts", "the newest verdict on each branch that has a base", get(api::verdicts)).gives::<Items<Verdict>>(),
        entry(api, "/api/v1/specs/{name}/verdicts", "the verdicts on a branch, the newest first; only that one has `systems`", get(api::verdicts_of)).gives::<Items<Verdict>>(),
        entry(api, "/api/v1/coverage", "what substitute servers have of the newest evaluations", get(coverage::all)).gives::<Items<Coverage>>(),
        entry(api, "/api/v1/specs/{name}/coverage", "what they have of a spec", get(coverage::of_spec)).gives::<Items<Coverage>>(),
        entry(api, "/api/v1/specs/{name}/coverage/{system}/missing", "up to 500 jobs whose outputs no server has, by name; takes `after`", get(coverage::missing)).takes::<coverage::After>("after").gives::<MissingJobs>(),
        entry(api, "/api/v1/waivers", "the waivers in force", get(waivers::list)).gives::<Items<Waiver>>(),
        entry(api, "/api/v1/history/{name}", "a package or job over time; takes `spec`", get(api::history)).takes::<QueryFilters>("spec").gives::<Items<Span>>(),
        entry(api, "/api/v1/evaluations/{id}", "one evaluation with its errors", get(api::evaluation)).gives::<Evaluation>(),
        entry(api, "/api/v1/queue", "up to 500 builds of each state in the order of submission; takes `spec`, `system` and `state`", get(api::queue)).takes::<QueryFilters>("spec system state").gives::<Queue>(),
        entry(api, "/api/v1/builds", "builds, those of the newest evaluation first; takes `spec`, `system`, `state`, `name` (how the job begins), `disturbed`, `before` and `limit`", get(builds::list)).takes::<QueryFilters>("spec system state").takes::<BuildQuery>("name disturbed before limit").gives::<Page<Build, String>>(),
        entry(api, "/api/v1/builds/{id}", "one build: why it is in its state, its events, and what it has to do with others", get(builds::one)).gives::<BuildReport>(),
        entry(api, "/api/v1/blockers", "failed builds that others wait for; takes `spec` and `system`", get(api::blockers)).takes::<QueryFilters>("spec system").gives::<Items<Blocker>>(),
        entry(api, "/api/v1/jobs/{name}", "why jobs of a name are queued or are not; takes `spec` and `system`", get(api::jobs)).takes::<QueryFilters>("spec system").gives::<explanation::Answer>(),
        entry(api, "/api/v1/pushes", "pushes to branches, the newest first; takes `branch`, `before` and `limit`", get(lists::pushes)).takes::<PushQuery>("branch before limit").gives::<Page<Push, PushId>>(),
        entry(api, "/api/v1/specs", "the specs by name, and how each stands; takes `q` (a part of the name), `after` and `limit`", get(lists::specs)).takes::<SpecQuery>("q after limit").gives::<Specs>(),
        entry(api, "/api/v1/evaluations/{id}/errors", "the errors of an evaluation by name; takes `cause`, `after` and `limit`", get(lists::errors)).takes::<ErrorQuery>("cause after limit").gives::<Errors>(),
        entry(api, "/api/v1/packages/{name}", "a package or job now and over time, over specs and systems; takes `spec`", get(packages::package)).takes::<QueryFilters>("spec").gives::<Package>(),
        entry(api, "/api/v1/derivations/{file}", "one derivation, `HASH-NAME.drv`: what its file says, its jobs and its build", get(packages::derivation)).gives::<Derivation>(),
        entry(api, "/api/v1/pauses", "the pauses", get(api::pauses)).gives::<Items<Pause>>(),
        entry(api, "/api/v1/openapi.json", "this API as an OpenAPI 3.1 document", get(document)).gives::<Map<String, Value>>(),
        entry(admin_api, "/api/v1/tokens", "the tokens, without their secrets", get(api::tokens)).gives::<Items<Token>>(),
        entry(admin_api, "/api/v1/audit", "the audit log, the newest first; takes `before` and `limit`", get(api::audit)).takes::<Older>("before limit").gives::<Page<AuditEntry, i64>>(),
        entry((Kind::Stream, "GET", Some(Role::Read)), "/api/v1/events", "events, as server-sent events; resumes after `Last-Event-ID` or `after`", get(live::stream)).takes::<After>("after").gives_text("text/event-stream"),
    ]
}

/// Cuirass's API.
#[rustfmt::skip]
fn of_cuirass() -> Vec<Entry> {
    let api = (Kind::Compatible, "GET", Some(Role::Read));
    let trigger = (Kind::Compatible, "POST", Some(Role::Trigger));
    vec![
        entry(api, "/api/latestbuilds", "Cuirass's list of builds that have ended; takes `nr`, `jobset`, `job`, `system`, `evaluation`, `derivation` and `status`", get(cuirass::latest_builds)),
        entry(api, "/api/queue", "Cuirass's list of builds that have not ended; takes the same", get(cuirass::queue)),
        entry(api, "/api/evaluation", "an evaluation as Cuirass shows it; takes `id`", get(cuirass::evaluation)),
        entry(api, "/api/evaluations", "the newest evaluations as Cuirass shows them; takes `nr` and `spec`", get(cuirass::evaluations)),
        entry(api, "/api/jobs", "the jobs of an evaluation as Cuirass shows them; takes `evaluation`, `names` and `system`", get(cuirass::jobs)),
        entry(api, "/api/jobs/history", "jobs over time as Cuirass shows them; takes `spec`, `names` and `nr`", get(cuirass::history)),
        entry(api, "/jobsets", "the specs as Cuirass shows them", get(cuirass::specifications)),
        entry(api, "/specifications", "the same", get(cuirass::specifications)),
        entry(api, "/build/{id}", "a build as Cuirass shows it, by its number or its derivation", get(cuirass::build)),
        entry(api, "/build/{id}/details", "leads to the page of a build", get(cuirass::build_page)),
        entry(api, "/build/{id}/log/raw", "the log of a build on this machine", get(cuirass::build_log)),
        entry(api, "/log/{id}", "the same, by the derivation", get(cuirass::build_log)),
        entry(api, "/eval/{id}", "leads to the page of an evaluation; `/eval/latest` takes `spec`", get(cuirass::evaluation_page)),
        entry(api, "/jobset/{name}", "leads to the page of a spec", get(cuirass::jobset)),
        entry(api, "/search", "leads to a search for jobs; takes `query`", get(cuirass::search)),
        entry(api, "/status", "leads to the queue", get(cuirass::status)),
        entry(api, "/workers", "leads to the page of hosts and coordinators", get(cuirass::workers)),
        entry(trigger, "/jobset/{name}/hook/evaluate", "poll the branches of a spec now", post(cuirass::evaluate)),
    ]
}

/// Routes that change something: each once for the API, and once for a form of a page.
#[rustfmt::skip]
fn changing() -> Vec<Entry> {
    use Role::{Admin, Operate, Trigger};
    let actions = [
        both(Trigger, "/poll", "poll all branches now", action::poll_all),
        both(Trigger, "/specs/{name}/poll", "poll the branches of a spec now", action::poll),
        both(Operate, "/specs/{name}/approve", "queue what awaits approval of a spec; takes `system` in the body", action::approve_spec),
        both(Operate, "/evaluations/{id}/approve", "queue what awaits approval of an evaluation", action::approve_evaluation),
        both(Operate, "/evaluations/{id}/retry", "evaluate a revision again", action::retry),
        both(Operate, "/evaluations/{id}/pin", "pin an evaluation", action::pin),
        both(Operate, "/evaluations/{id}/unpin", "unpin an evaluation", action::unpin),
        with_body::<RetryBody>(both(Operate, "/builds/retry", "queue failed builds again; takes `spec`, `system`, `state`, `name` and `disturbed` in the body", builds::retry)),
        both(Operate, "/builds/{id}/retry", "queue a failed build again", action::retry_build),
        both(Operate, "/pauses/{kind}/{name}", "pause a `spec`, `system` or `host`, or `submission/all`; takes `reason` in the body", action::pause),
        both(Operate, "/pauses/{kind}/{name}/resume", "resume it", action::resume),
        with_body::<WaiverBody>(both(Operate, "/specs/{name}/waivers", "create a waiver; takes `reason`, `job`, `system`, `why` and `days` in the body", waivers::create)),
        both(Operate, "/waivers/{id}/end", "end a waiver", waivers::end),
        both(Admin, "/pushes/{id}/acknowledge", "acknowledge a push that leads away from what was evaluated", action::acknowledge),
        both(Admin, "/coordinators/{name}/reassign", "reassign the builds of a removed coordinator", action::reassign),
        both(Admin, "/tokens/{id}/revoke", "revoke a token", action::revoke_token),
        [
            entry((Kind::Api, "POST", Some(Admin)), "/api/v1/tokens", "create a token; takes `name`, `role`, `specs` and `days` in the body", post(action::create_token)).takes_body::<Wanted>().creates::<CreatedToken>(),
            entry((Kind::Page, "POST", Some(Admin)), "/admin/tokens", "create a token", post(pages::admin::create)),
        ],
    ];
    actions.into_iter().flatten().collect()
}

/// Routes for anybody.
fn open() -> Vec<Entry> {
    let open = (Kind::Open, "GET", None);
    vec![
        entry((Kind::Page, "GET", None), "/login", "where a token is given", get(pages::login::page)),
        entry(
            (Kind::Page, "POST", None),
            "/login",
            "begin a session with a token",
            post(pages::login::log_in),
        ),
        entry((Kind::Page, "POST", None), "/logout", "end a session", post(pages::login::log_out)),
        entry((Kind::Asset, "GET", None), "/assets/{file}", "a file that pages load", get(pages::asset)),
        entry(open, "/healthz", "whether this process serves", get(health::alive)),
        entry(
            open,
            "/readyz",
            "whether the database answers and a host schedules; else 503",
            get(health::ready),
        ),
        entry(open, "/nix-cache-info", "what is served here", get(derivations::cache_info)),
        entry(open, "/{file}", "the narinfo of a store item", get(derivations::narinfo)),
        entry(open, "/nar/{item}", "a store item", get(derivations::nar)),
        entry(
            (Kind::Open, "POST", None),
            "/build-server/{id}/build-events",
            "the events of a coordinator; takes its token",
            events::receiving(),
        ),
        entry(
            (Kind::Open, "POST", None),
            "/hooks/{name}",
            "where a forge reports pushes; takes its signature",
            post(hooks::receive),
        ),
    ]
}
