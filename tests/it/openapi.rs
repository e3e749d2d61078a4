//! The API describes itself, and answers as it says.

use std::collections::BTreeMap;

use boon::{Compiler, SchemaIndex, Schemas};
use gorget::web::{Kind, routes};
use serde_json::{Value, json};

use crate::commands::a_farm;
use crate::pages::serving;
use crate::support::on_both;

/// Requests whose answers the document describes, by the path in the document.
const REQUESTS: [(&str, &str); 30] = [
    ("/api/v1/status", ""),
    ("/api/v1/trouble", ""),
    ("/api/v1/specs", ""),
    ("/api/v1/specs", "?limit=1"),
    ("/api/v1/evaluations", "?limit=1"),
    ("/api/v1/evaluations/{id}", ""),
    ("/api/v1/evaluations/{id}/errors", "?limit=1"),
    ("/api/v1/compare/{range}", ""),
    ("/api/v1/specs/{name}/failures", ""),
    ("/api/v1/specs/{name}/verdicts", ""),
    ("/api/v1/verdicts", ""),
    ("/api/v1/waivers", ""),
    ("/api/v1/coverage", ""),
    ("/api/v1/specs/{name}/coverage", ""),
    ("/api/v1/specs/{name}/coverage/{system}/missing", ""),
    ("/api/v1/history/{name}", ""),
    ("/api/v1/packages/{name}", ""),
    ("/api/v1/queue", ""),
    ("/api/v1/builds", ""),
    ("/api/v1/builds", "?limit=2"),
    ("/api/v1/builds/{id}", ""),
    ("/api/v1/blockers", ""),
    ("/api/v1/jobs/{name}", ""),
    ("/api/v1/pushes", "?limit=1"),
    ("/api/v1/pauses", ""),
    ("/api/v1/openapi.json", ""),
    ("/api/v1/builds", "?state=lost"),
    ("/api/v1/builds", "?limit=many"),
    ("/api/v1/derivations/{file}", ""),
    ("/api/v1/tokens", ""),
];

/// The path of a request for something that the farm has.
fn request(path: &str) -> String {
    let name = match path {
        path if path.ends_with("verdicts") => "staging",
        path if path.contains("specs") => "master",
        _ => "vim.x86_64-linux",
    };
    [("{id}", "2"), ("{name}", name), ("{range}", "1..2"), ("{system}", "x86_64-linux"), ("{file}", "x.drv")]
        .iter()
        .fold(path.to_owned(), |path, (brace, value)| path.replace(brace, value))
}

/// What is wrong with a schema of a document, or else the schema.
fn compiled(document: &Value, pointer: &str) -> (Schemas, SchemaIndex) {
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.add_resource("http://localhost/openapi.json", document.clone()).unwrap();
    let place = format!("http://localhost/openapi.json#{pointer}");
    let index = compiler.compile(&place, &mut schemas).unwrap_or_else(|error| panic!("{pointer}: {error:#}"));
    (schemas, index)
}

/// A part of a JSON pointer.
fn segment(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1").replace('{', "%7B").replace('}', "%7D")
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    on_both(async |db| {
        a_farm(db).await;
        let (url, stop) = serving(db, true).await;
        let document: Value =
            reqwest::get(format!("{url}/api/v1/openapi.json")).await.unwrap().json().await.unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut described: BTreeMap<(String, String), Value> = BTreeMap::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let security = operation["security"][0]["token"].clone();
                described.insert((path.clone(), method.to_uppercase()), security);
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let content = response["content"].as_object().unwrap();
                    for (kind, content) in content {
                        assert!(content["schema"].is_object(), "{method} {path} has no schema");
                        compiled(
                            &document,
                            &format!(
                                "/paths/{}/{method}/responses/{status}/content/{}/schema",
                                segment(path),
                                segment(kind)
                            ),
                        );
                    }
                }
                for parameter in operation["parameters"].as_array().unwrap() {
                    assert!(parameter["schema"].is_object(), "{method} {path}: {parameter}");
                }
            }
        }
        let api = routes().into_iter().filter(|route| matches!(route.kind, Kind::Api | Kind::Stream));
        let expected: BTreeMap<(String, String), Value> = api
            .map(|route| {
                let role = route.role.map_or(Value::Null, |role| json!([role.word()]));
                ((route.path, route.method.to_owned()), role)
            })
            .collect();
        assert_eq!(described, expected);
        let ids = document["paths"].as_object().unwrap().values().flat_map(|methods| {
            methods.as_object().unwrap().values().map(|one| one["operationId"].as_str().unwrap().to_owned())
        });
        let ids: Vec<String> = ids.collect();
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        let mut kinds = [0, 0];
        for (path, query) in REQUESTS {
            let answer = reqwest::get(format!("{url}{}{query}", request(path))).await.unwrap();
            let is_good = answer.status() == 200;
            kinds[usize::from(is_good)] += 1;
            let (status, kind) =
                if is_good { ("200", "application/json") } else { ("default", "application/problem+json") };
            assert_eq!(answer.headers()["content-type"], kind, "{path}{query}");
            let answer: Value = answer.json().await.unwrap();
            let pointer =
                format!("/paths/{}/get/responses/{status}/content/{}/schema", segment(path), segment(kind));
            let (schemas, index) = compiled(&document, &pointer);
            if let Err(error) = schemas.validate(&answer, index) {
                panic!("{path}{query}: {error:#}\n{answer:#}");
            }
        }
        assert_eq!(kinds, [4, REQUESTS.len() - 4]);
        stop.cancel();
    })
    .await;
}
