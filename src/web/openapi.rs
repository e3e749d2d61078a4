//! The description of the API as an OpenAPI 3.1 document, made from the table of routes.
//!
//! The schemas of answers come from the types that are serialized, and those of queries and bodies
//! from the types that are read. The role that a route needs is in its `security`.

use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::Details;
use super::route::{Kind, Route};

/// Where a document has the schemas that it refers to.
const SCHEMAS: &str = "/components/schemas";

type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// What a route takes and gives.
#[derive(Default)]
pub(super) struct Exchange {
    /// Types that the query is read into, and the names of the parameters that the route heeds.
    queries: Vec<(MakeSchema, &'static str)>,
    body: Option<MakeSchema>,
    answer: Option<Answer>,
}

enum Answer {
    Json(&'static str, MakeSchema),
    Text(&'static str),
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Exchange {
    /// Adds parameters of a query: fields of `T`, separated by blanks.
    pub(super) fn takes<T: JsonSchema>(&mut self, names: &'static str) {
        self.queries.push((schema::<T>, names));
    }

    /// Sets the body of the request.
    pub(super) fn takes_body<T: JsonSchema>(&mut self) {
        self.body = Some(schema::<T>);
    }

    /// Sets the answer, and its status.
    pub(super) fn gives<T: JsonSchema>(&mut self, status: &'static str) {
        self.answer = Some(Answer::Json(status, schema::<T>));
    }

    /// Sets the type of an answer that is not JSON.
    pub(super) fn gives_text(&mut self, kind: &'static str) {
        self.answer = Some(Answer::Text(kind));
    }
}

/// The document that describes these routes.
pub(super) fn described(routes: &[(Route, Exchange)]) -> Value {
    let mut answers = generator(Contract::Serialize, false);
    let mut requests = generator(Contract::Deserialize, true);
    let problem = answers.subschema_for::<Details<'_>>();
    let mut paths: Map<String, Value> = Map::new();
    let api = routes.iter().filter(|(route, _)| matches!(route.kind, Kind::Api | Kind::Stream));
    for (route, exchange) in api {
        let operation = operation(route, exchange, (&mut answers, &mut requests), &problem);
        let methods = paths.entry(&route.path).or_insert_with(|| json!({}));
        methods[route.method.to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Gorget",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": answers.take_definitions(true),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn generator(contract: Contract, inline: bool) -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
        settings.inline_subschemas = inline;
        settings.contract = contract;
    });
    settings.into_generator()
}

fn operation(
    route: &Route,
    exchange: &Exchange,
    (answers, requests): (&mut SchemaGenerator, &mut SchemaGenerator),
    problem: &Schema,
) -> Value {
    let segments = route.path.split(['/', '{', '}', '.', '-']).filter(|segment| !segment.is_empty());
    let name: Vec<&str> = segments.filter(|segment| !["api", "v1"].contains(segment)).collect();
    let mut operation = json!({
        "operationId": format!("{}_{}", route.method.to_ascii_lowercase(), name.join("_")),
        "summary": route.text,
        "parameters": parameters(route, exchange, requests),
        "responses": {
            "default": {
                "description": "why the request was refused",
                "content": { "application/problem+json": { "schema": problem } },
            },
        },
    });
    if let Some(role) = route.role {
        operation["security"] = json!([{ "token": [role.word()] }]);
    }
    if let Some(body) = exchange.body {
        operation["requestBody"] = json!({ "content": { "application/json": { "schema": body(requests) } } });
    }
    let (status, kind, schema) = match exchange.answer {
        Some(Answer::Json(status, schema)) => (status, "application/json", json!(schema(answers))),
        Some(Answer::Text(kind)) => ("200", kind, json!({ "type": "string" })),
        None => ("200", "application/json", json!(true)),
    };
    let content = json!({ kind: { "schema": schema } });
    operation["responses"][status] = json!({ "description": "the answer", "content": content });
    operation
}

/// The parameters of the path, and those of the query.
fn parameters(route: &Route, exchange: &Exchange, requests: &mut SchemaGenerator) -> Vec<Value> {
    let in_braces = route.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let mut all: Vec<Value> = in_braces
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    for (query, names) in &exchange.queries {
        let fields = query(requests);
        for name in names.split(' ') {
            let mut field =
                fields.get("properties").and_then(|all| all.get(name)).cloned().unwrap_or_default();
            let text = field.as_object_mut().and_then(|field| field.remove("description"));
            all.push(json!({
                "name": name, "in": "query", "description": text.unwrap_or_default(), "schema": field,
            }));
        }
    }
    all
}
