//! What strangers send is read in a time that grows as its length does, whatever is in it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use gorget::guix::derivation::{Derivation, Output};
use gorget::guix::sexp::Sexp;
use gorget::guix::store_path::StorePath;
use gorget::guix::{edges, nar, narinfo};
use rustix::time::{ClockId, clock_gettime};

/// The second size is so many times the first.
const TIMES: usize = 8;
/// What was quadratic would take 64 times as long.
const MOST_TIMES: u32 = 24;
/// What cannot be measured exactly.
const NOISE: Duration = Duration::from_millis(5);

/// The CPU time that this thread has used: the machine may be busy with other things.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Measures what takes `size` bytes or items, and `TIMES` as many.
fn assert_linear<T>(what: &str, size: usize, make: impl Fn(usize) -> T, run: impl Fn(&T)) {
    let time = |size: usize| {
        let input = make(size);
        let times = (0..5).map(|_| {
            let begun = cpu_time();
            run(&input);
            cpu_time().saturating_sub(begun)
        });
        times.min().unwrap()
    };
    let (once, often) = (time(size), time(TIMES * size));
    assert!(
        often < once * MOST_TIMES + NOISE,
        "{what}: {once:?} for {size}, {often:?} for {TIMES} times that"
    );
}

#[test]
fn s_expressions() {
    for piece in ["\\x11", "a.", "; ", "(a) ", "\\\\", "\" \"", "a . b ", "#", "(", "\u{e9}"] {
        for (open, close) in [("(", ")"), ("\"", "\""), ("", "")] {
            let text = |count: usize| format!("{open}{}{close}", piece.repeat(count));
            assert_linear(&format!("{open}{piece}"), 1 << 13, text, |text| {
                let _ = black_box(Sexp::read(text));
            });
        }
    }
}

/// A derivation with the shortest of everything.
fn derivation(outputs: usize, items: usize) -> Derivation<'static> {
    let text = |text: String| Cow::Owned(text.into_bytes());
    let output = |number: usize| Output {
        name: text(format!("o{number}")),
        path: text(String::new()),
        algorithm: text(String::new()),
        hash: text(String::new()),
    };
    let input = |n: usize| (text(format!("/gnu/store/{n:032}-x.drv")), vec![text("out".to_owned())]);
    Derivation {
        outputs: (0..outputs).map(output).collect(),
        inputs: (0..items / 4).map(input).collect(),
        sources: (0..items / 4).map(|n| text(format!("/gnu/store/{n:032}-x"))).collect(),
        system: text("x86_64-linux".to_owned()),
        builder: text("\\\n".repeat(items)),
        arguments: (0..items / 4).map(|_| text(String::new())).collect(),
        environment: (0..items / 8).map(|n| (text(format!("v{n}")), text("\"".to_owned()))).collect(),
    }
}

#[test]
fn derivations() {
    // The second has more items than are read, so it ends early.
    for outputs in [1, 128] {
        let make = |items: usize| derivation(outputs, items).print();
        assert_linear("reading", 1 << 13, make, |text| {
            assert!(Derivation::parse(black_box(text)).is_ok());
            assert!(Derivation::parse_sources(black_box(text)).is_ok());
        });
        let make = |items: usize| derivation(outputs, items);
        assert_linear("checking", 1 << 13, make, |derivation| {
            // Its outputs are not what they should be, which shows in the end.
            let modulo_of = |path: &[u8]| Some([path[42]; 32]);
            assert!(derivation.check_outputs("x", modulo_of).is_err());
        });
    }
    for piece in ["\"", "\\\\", "\\n", "[\"\",", "(", ","] {
        let text = |count: usize| format!("Derive([(\"{}", piece.repeat(count));
        assert_linear(piece, 1 << 15, text, |text| {
            let _ = black_box(Derivation::parse(text.as_bytes()));
        });
    }
}

#[test]
fn what_a_derivation_may_have_is_bounded() {
    let error = |derivation: &Derivation<'_>| Derivation::parse(&derivation.print()).unwrap_err().expected;
    assert_eq!(error(&derivation(129, 0)), "fewer outputs");
    assert_eq!(error(&derivation(300_000, 300_000)), "fewer outputs");
    assert_eq!(error(&derivation(1, 1 << 18)), "fewer items in its lists");
    let mut twice = derivation(2, 0);
    twice.outputs[1].name = twice.outputs[0].name.clone();
    let error = twice.check_outputs("x", |_| None).unwrap_err();
    assert_eq!(error.to_string(), "it has two outputs called \"o0\"");
}

fn word(bytes: &mut Vec<u8>, word: &[u8]) {
    bytes.extend((word.len() as u64).to_le_bytes());
    bytes.extend(word);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

#[test]
fn archives() {
    let directory = |entries: usize| {
        let mut bytes = Vec::new();
        for part in ["nix-archive-1", "(", "type", "directory"] {
            word(&mut bytes, part.as_bytes());
        }
        for entry in 0..entries {
            for part in ["entry", "(", "name", &format!("{entry:08}"), "node", "("] {
                word(&mut bytes, part.as_bytes());
            }
            for part in ["type", "symlink", "target", "x", ")", ")"] {
                word(&mut bytes, part.as_bytes());
            }
        }
        word(&mut bytes, b")");
        bytes
    };
    assert_linear("a directory", 1 << 10, directory, |bytes| {
        assert!(nar::read(&mut &bytes[..], usize::MAX).is_ok());
    });
    assert_linear(
        "a file",
        1 << 18,
        |length| nar::of_file(&vec![1; length]),
        |bytes| {
            assert!(nar::read(&mut &bytes[..], usize::MAX).is_ok());
            assert!(nar::single_file(bytes).is_some());
        },
    );
}

#[test]
fn names_and_lines() {
    let references = |count: usize| (0..count).map(|n| format!("/gnu/store/{n:032}-x")).collect::<Vec<_>>();
    assert_linear("a text", 1 << 12, references, |references| {
        assert!(StorePath::of_text(b"x", b"", references).is_ok());
        assert!(references.iter().all(|path| StorePath::parse(path.as_bytes()).is_ok()));
    });
    assert_linear(
        "a path",
        1 << 18,
        |length| "x".repeat(length),
        |text| {
            assert!(StorePath::parse(text.as_bytes()).is_err());
            assert!(StorePath::parse_base_name(text.as_bytes()).is_err());
        },
    );
    for piece in ["\nSignature", "\nStorePath: x", "References: ", "\r\n", ":"] {
        assert_linear(
            piece,
            1 << 14,
            |count| piece.repeat(count),
            |text| {
                let _ = black_box(narinfo::read(text.as_bytes()));
            },
        );
    }
    let ids = |count: usize| edges::encode(&(1..).step_by(300).take(count).collect::<Vec<i64>>());
    assert_linear("edges", 1 << 14, ids, |bytes| assert!(edges::decode(bytes).is_ok()));
}

#[test]
fn an_error_shows_a_part_of_what_is_wrong() {
    let mut long = String::from("/gnu/store/");
    write!(long, "{}", "x".repeat(1 << 20)).unwrap();
    for text in [&long[..], &long[1..]] {
        assert!(StorePath::parse(text.as_bytes()).unwrap_err().to_string().len() < 1000);
    }
}
