use std::time::Duration;

use super::*;
use crate::clock::cpu_time;
use crate::evaluator::runtime::key_limits::KeyLimits;
use proptest::prelude::*;

proptest! {
    #[test]
    fn anything_can_be_read(text in "(\\(|\\)|#|\\||!|;|'|`|,|@|\"|\\\\|\\{|\\}|~|\\$| |\n|a|define|begin|eval-when|é|:|\\.){0,200}") {
        let modules = Modules::new(["a.scm"].into_iter());
        let read = read_all(text.as_bytes(), &modules).unwrap();
        for form in &read.forms {
            prop_assert!(form.text.end <= text.len());
            prop_assert!(form.symbols.iter().all(|(symbol, _)| (*symbol as usize) < read.symbols.len()));
        }
    }
}

fn read_all<'a>(text: &'a [u8], modules: &Modules<'_>) -> Result<Read<'a>, LimitExceeded> {
    read(text, 0, modules, &KeyLimits::limited().meter())
}

#[test]
fn depth_costs_no_stack_and_ends_the_reading() {
    let modules = Modules::new(std::iter::empty());
    let text = "(".repeat(1_000_000);
    assert!(read_all(text.as_bytes(), &modules).unwrap().unknown.is_some());
    let text = "(".repeat(MAX_DEPTH);
    assert_eq!(read_all(text.as_bytes(), &modules).unwrap().unknown, None);
}

/// Texts that are `count` times as long as something.
fn long(count: usize) -> Vec<(&'static str, String)> {
    let deep = MAX_DEPTH / 2;
    let nested = format!("{}{}{}", "(".repeat(deep), "(a) ".repeat(count), ")".repeat(deep));
    let keyword = format!("(define-module (a) #:export{} ({}))", "x".repeat(count), "s ".repeat(count));
    let many: String = (0..count).map(|number| format!("(define (f{number} x) x)")).collect();
    let symbols: String = (0..count).map(|number| format!("s{number} ")).collect();
    vec![
        ("modules in a deep nest", nested),
        ("a long keyword", keyword),
        ("many definitions", many),
        ("one form", format!("(define (f) {symbols})")),
        ("unclosed lists", "(a ".repeat(count.min(MAX_DEPTH))),
        ("quotations", "'".repeat(count)),
        ("a dropped datum", "#;(".repeat(count.min(MAX_DEPTH))),
        ("strings", "\"a\" ".repeat(count)),
        ("block comments", "#| ".repeat(count)),
        ("unclosed comments", "#!x\n".repeat(count)),
        ("containers", "(begin ".repeat(count.min(MAX_DEPTH))),
        ("clauses", "(cond-expand (a (define b 1)))".repeat(count)),
    ]
}

#[test]
fn reading_takes_time_in_proportion_to_the_text() {
    let modules = Modules::new(["a.scm"].into_iter());
    // The best of some runs shows what the machine does when nothing else disturbs it.
    let time = |text: &str| {
        let runs = (0..5).map(|_| {
            let started = cpu_time();
            read_all(text.as_bytes(), &modules).unwrap();
            cpu_time().saturating_sub(started)
        });
        runs.min().unwrap()
    };
    // What is quadratic takes 64 times as long.
    for ((what, short), (_, long)) in long(20_000).into_iter().zip(long(160_000)) {
        let (short, long) = (time(&short), time(&long));
        assert!(long < 32 * short + Duration::from_millis(5), "{what}: {short:?} and {long:?}");
    }
}

#[test]
fn templates_are_told_from_code() {
    let text = b"(define-syntax m (lambda (s) #'(late #,(early)) (early2)))";
    let read = read_all(text, &Modules::new(std::iter::empty())).unwrap();
    let code = |name: &str| {
        let symbol = read.symbols.iter().position(|symbol| *symbol == name.as_bytes()).unwrap();
        read.forms[0].symbols.iter().any(|(other, free)| *other as usize == symbol && *free)
    };
    assert_eq!([code("late"), code("early"), code("early2")], [false, true, true]);
}
