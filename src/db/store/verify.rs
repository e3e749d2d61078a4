//! Checks store items: see `crate::db::verify`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::Value;

use crate::db::evaluation::batch::output_lines;
use crate::db::store::item_kind::ItemKind;
use crate::db::store::pack::{Packs, StoredRow};
use crate::db::store::path::{nar_path, text_path};
use crate::db::verify::Finding;
use crate::db::{Db, Result, rows};
use crate::guix::derivation::Derivation;
use crate::guix::store_path::{Hash, StorePath};
use crate::guix::{base32, edges};

impl Db {
    /// Checks that store items have the names that follow from their contents, that derivations
    /// match their rows, and that everything that derivations of live builds need exists.
    pub(in crate::db) async fn verify_items(
        &self,
        live: HashSet<Hash>,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let mut needed: HashSet<Hash> = live.clone();
        let mut present = HashSet::new();
        let mut packs = Packs::of(self);
        while let Some(pack) = packs.next().await? {
            let mut derivations = BTreeMap::new();
            let contents = pack.unpacked(&self.packed(&pack).await?).unwrap_or_else(|error| {
                findings.push(Finding { rule: "items", what: error.to_string() });
                Vec::new()
            });
            for item in &pack.items {
                let checked = item.bytes(&contents).map_err(|error| error.to_string());
                match checked.and_then(|bytes| check_item(item, bytes)) {
                    Err(what) => findings.push(Finding { rule: "items", what }),
                    Ok((path, said)) => {
                        present.insert(*path.hash());
                        if let Some(said) = said {
                            if live.contains(path.hash()) {
                                needed.extend(&said.sources);
                            }
                            derivations.insert(item.hash.clone(), said);
                        }
                    }
                }
            }
            self.verify_derivations(&derivations, findings).await?;
        }
        let missing = needed.difference(&present).map(|hash| base32::encode(hash));
        let missing: BTreeSet<String> = missing.collect();
        findings.extend(missing.into_iter().map(|hash| {
            let what = format!("a build that is not finished needs the store item {hash}, which is missing");
            Finding { rule: "closure", what }
        }));
        Ok(())
    }

    /// Checks that the rows of these derivations match the derivations.
    async fn verify_derivations(
        &self,
        derivations: &BTreeMap<String, Said>,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        type Row = (i64, String, String, String, Vec<u8>);
        let hashes = rows(derivations.keys().map(|hash| Value::from(hash.as_str())));
        let sql = sql!(
            "select d.id, d.hash, y.name, outputs(o, d), d.inputs from each_text($1)
               join derivation d on has_hash(d, w.value)
               join system y on y.id = d.system_id join output_set o on o.id = d.output_set_id"
        );
        let found: Vec<Row> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&hashes).fetch_all(pool).await?);
        let decoded: Vec<Vec<i64>> =
            found.iter().map(|(.., inputs)| edges::decode(inputs).unwrap_or_default()).collect();
        let ids: BTreeSet<i64> = decoded.iter().flatten().copied().collect();
        let ids = rows(ids.into_iter().map(Value::from));
        let sql = sql!("select id, hash from derivation where id in ids($1)");
        let names: Vec<(i64, String)> =
            each!(&self.readers, pool, sql => sqlx::query_as(sql).bind(&ids).fetch_all(pool).await?);
        let names: BTreeMap<i64, String> = names.into_iter().collect();
        for ((id, hash, system, outputs, _), inputs) in found.into_iter().zip(decoded) {
            let inputs: BTreeSet<String> = inputs.iter().filter_map(|id| names.get(id).cloned()).collect();
            let said = &derivations[&hash];
            if (&said.system, &said.outputs, &said.inputs) != (&system, &outputs, &inputs) {
                let what = format!("derivation {id} ({hash}) differs from its store item");
                findings.push(Finding { rule: "derivation", what });
            }
        }
        Ok(())
    }
}

/// What the text of a derivation says.
struct Said {
    system: String,
    /// The outputs, in the form of `output_set`.
    outputs: String,
    /// Hashes of its input derivations.
    inputs: BTreeSet<String>,
    /// Hashes of the other items that it needs.
    sources: Vec<Hash>,
}

/// Checks that the name of a store item follows from its contents.
fn check_item(item: &StoredRow, bytes: &[u8]) -> Result<(StorePath, Option<Said>), String> {
    let wrong = |reason: String| format!("the store item {}-{} is damaged: {reason}", item.hash, item.name);
    let name = format!("{}-{}", item.hash, item.name);
    let named = StorePath::parse_base_name(name.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let mut said = None;
    let path = match item.kind {
        ItemKind::Nar => nar_path(&named, bytes),
        ItemKind::Text => text_path(&item.name, bytes, item.refs.split_ascii_whitespace()),
    };
    let path = path.map_err(wrong)?;
    if item.kind == ItemKind::Text && item.is_derivation() {
        let parsed = Derivation::parse(bytes).map_err(|error| wrong(error.to_string()))?;
        said = Some(say(&parsed).map_err(wrong)?);
    }
    if path == named {
        Ok((path, said))
    } else {
        Err(wrong(format!("its contents have the path {}", path.base_name())))
    }
}

fn say(parsed: &Derivation<'_>) -> Result<Said, String> {
    let path = |text: &[u8]| StorePath::parse(text).map_err(|error| error.to_string());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let outputs =
        parsed.outputs.iter().map(|output| Ok((text(&output.name), path(&output.path)?.base_name())));
    let outputs = output_lines(&outputs.collect::<Result<Vec<_>, String>>()?);
    let inputs = parsed.inputs.iter().map(|(input, _)| Ok(path(input)?.hash_text()));
    let sources = parsed.sources.iter().map(|source| Ok(*path(source)?.hash()));
    Ok(Said {
        system: text(&parsed.system),
        outputs,
        inputs: inputs.collect::<Result<_, String>>()?,
        sources: sources.collect::<Result<_, String>>()?,
    })
}
