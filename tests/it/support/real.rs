//! Derivations with store items that are called what they should be.

use gorget::db::{Batch, Item, ItemKind, NewDerivation, Pack};
use gorget::guix::derivation::{Derivation, Output};
use gorget::guix::store_path::StorePath;

use super::job;

/// A derivation, its builder, and the text of both.
#[derive(Clone)]
pub struct Real {
    /// As a batch has it.
    pub derivation: NewDerivation,
    path: StorePath,
    items: Vec<(StorePath, Vec<u8>)>,
}

/// The derivation called `word`, with a builder of its own, that needs these.
pub fn real(word: &str, inputs: &[&Real]) -> Real {
    let script = format!("make {word}").into_bytes();
    let source = StorePath::of_text(format!("{word}-builder").as_bytes(), &script, &[""; 0]).unwrap();
    let output = StorePath::of_text(word.as_bytes(), b"what is made", &[""; 0]).unwrap();
    let mut paths: Vec<String> = inputs.iter().map(|input| input.path.to_string()).collect();
    paths.sort_unstable();
    let (source_path, output_path) = (source.to_string(), output.to_string());
    let text = Derivation {
        outputs: vec![Output {
            name: b"out".into(),
            path: output_path.as_bytes().into(),
            algorithm: b"".into(),
            hash: b"".into(),
        }],
        inputs: paths.iter().map(|path| (path.as_bytes().into(), vec![b"out".into()])).collect(),
        sources: vec![source_path.as_bytes().into()],
        system: b"x86_64-linux".into(),
        builder: b"/bin/sh".into(),
        arguments: Vec::new(),
        environment: Vec::new(),
    }
    .print();
    let mut references = [&paths[..], &[source_path]].concat();
    references.sort_unstable();
    let path = StorePath::of_text(format!("{word}.drv").as_bytes(), &text, &references).unwrap();
    let derivation = NewDerivation {
        hash: path.hash_text(),
        name: word.to_owned(),
        system: "x86_64-linux".to_owned(),
        outputs: vec![("out".to_owned(), output.base_name())],
        inputs: inputs.iter().map(|input| input.derivation.hash.clone()).collect(),
    };
    Real { derivation, items: vec![(source, script), (path.clone(), text)], path }
}

/// A batch with these derivations, inputs first, and the jobs that some of them are; each has a pack.
pub fn real_batch(all: &[(Option<&str>, Real)]) -> Batch {
    let mut batch = Batch::default();
    for (name, real) in all {
        batch.derivations.push(real.derivation.clone());
        batch.packs.push(pack(&real.items));
        batch.jobs.extend(name.map(|name| {
            let mut job = job(name, "");
            job.derivation.clone_from(&real.derivation.hash);
            job
        }));
    }
    batch
}

/// One pack of texts that refer to nothing.
fn pack(texts: &[(StorePath, Vec<u8>)]) -> Pack {
    let mut contents = Vec::new();
    let mut items = Vec::new();
    for (path, text) in texts {
        items.push(Item {
            hash: path.hash_text(),
            name: path.name().to_owned(),
            kind: ItemKind::Text,
            refs: Vec::new(),
            start: contents.len() as u64,
            length: text.len() as u64,
        });
        contents.extend_from_slice(text);
    }
    Pack { contents: zstd::encode_all(&contents[..], 3).unwrap(), items }
}

/// A batch whose items are all in one pack.
pub fn in_one_pack(mut batch: Batch, all: &[(Option<&str>, Real)]) -> Batch {
    let texts: Vec<(StorePath, Vec<u8>)> = all.iter().flat_map(|(_, real)| real.items.clone()).collect();
    batch.packs = vec![pack(&texts)];
    batch
}
