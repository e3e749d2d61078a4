//! The values of Scheme expressions that are plain: nothing is evaluated.

use std::cell::Cell;
use std::collections::BTreeMap;

use crate::guix::guile::{Datum, Fault, Value};

/// Most expressions that are looked at: definitions can repeat each other.
const MOST_STEPS: usize = 100_000;
/// The deepest chain of definitions.
const DEEPEST: usize = 64;

/// What a file of Scheme defines.
pub(super) struct Definitions<'a> {
    text: &'a str,
    defined: BTreeMap<&'a str, &'a Datum>,
    steps: Cell<usize>,
    depth: Cell<usize>,
}

/// An expression, or the datum that one quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expression<'a> {
    pub(super) datum: &'a Datum,
    is_quoted: bool,
}

impl<'a> Expression<'a> {
    pub(super) fn of(datum: &'a Datum) -> Self {
        Self { datum, is_quoted: false }
    }

    fn quoted(datum: &'a Datum) -> Self {
        Self { datum, is_quoted: true }
    }

    /// The head and the arguments of `(head argument …)`.
    pub(super) fn call(self) -> Option<(&'a str, &'a [Datum])> {
        let [head, arguments @ ..] = self.datum.list()? else { return None };
        Some((head.symbol().filter(|_| !self.is_quoted)?, arguments))
    }

    /// The error that this is computed.
    pub(super) fn computed(self) -> Fault {
        Fault::new(self.datum.at, "this is computed, and nothing is evaluated here").hint("write the result")
    }
}

impl<'a> Definitions<'a> {
    /// The definitions among the data of a text.
    pub(super) fn of(text: &'a str, data: &'a [Datum]) -> Self {
        let definition = |datum: &'a Datum| match Expression::of(datum).call()? {
            ("define" | "define-public", [name, value]) => Some((name.symbol()?, value)),
            _ => None,
        };
        Self {
            text,
            defined: data.iter().filter_map(definition).collect(),
            steps: Cell::default(),
            depth: Cell::default(),
        }
    }

    /// Looks into an expression, unless that is too deep in others.
    pub(super) fn inside<T>(
        &self,
        expression: Expression<'a>,
        look: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.depth.get() == DEEPEST {
            return Err(Fault::new(expression.datum.at, "this refers to itself, or is too deep"));
        }
        self.depth.set(self.depth.get() + 1);
        let found = look();
        self.depth.set(self.depth.get() - 1);
        found
    }

    /// The values that are defined.
    pub(super) fn values(&self) -> impl Iterator<Item = &'a Datum> {
        self.defined.values().copied()
    }

    /// Replaces names by what they are defined as.
    pub(super) fn resolved(&self, expression: Expression<'a>) -> Result<Expression<'a>, Fault> {
        let mut found = expression;
        for _ in 0..DEEPEST {
            let steps = self.steps.replace(self.steps.get() + 1);
            if steps > MOST_STEPS {
                break;
            }
            if let Some(("quote", [datum])) = found.call() {
                return Ok(Expression::quoted(datum));
            }
            let name = found.datum.symbol().filter(|_| !found.is_quoted);
            match name.and_then(|name| self.defined.get(name)) {
                Some(datum) => found = Expression::of(datum),
                None => return Ok(found),
            }
        }
        Err(Fault::new(expression.datum.at, "the definitions that lead on from here are too long"))
    }

    /// The elements of a list.
    pub(super) fn list(&self, expression: Expression<'a>) -> Result<Vec<Expression<'a>>, Fault> {
        self.inside(expression, || self.elements(expression))
    }

    fn elements(&self, expression: Expression<'a>) -> Result<Vec<Expression<'a>>, Fault> {
        let resolved = self.resolved(expression)?;
        let own = |data: &'a [Datum]| data.iter().map(Expression::of).collect::<Vec<_>>();
        let rest = |datum| self.list(Expression::of(datum));
        if resolved.is_quoted {
            let items = resolved.datum.list().ok_or_else(|| resolved.computed())?;
            return Ok(items.iter().map(Expression::quoted).collect());
        }
        match resolved.call() {
            Some(("list", items)) => Ok(own(items)),
            Some(("cons" | "cons*", [items @ .., tail])) => {
                let mut all = own(items);
                all.extend(rest(tail)?);
                Ok(all)
            }
            Some(("append", lists)) => {
                let mut all = Vec::new();
                for list in lists {
                    all.extend(rest(list)?);
                }
                Ok(all)
            }
            Some(("quasiquote", [datum])) => self.template(datum),
            _ => Err(resolved.computed()),
        }
    }

    /// The elements of a list after a backquote.
    fn template(&self, datum: &'a Datum) -> Result<Vec<Expression<'a>>, Fault> {
        let items = datum.list().ok_or_else(|| Expression::of(datum).computed())?;
        let mut all = Vec::new();
        for item in items {
            match Expression::of(item).call() {
                Some(("unquote", [inner])) => all.push(Expression::of(inner)),
                Some(("unquote-splicing", [inner])) => {
                    all.extend(self.list(Expression::of(inner))?);
                }
                _ => all.push(Expression::quoted(item)),
            }
        }
        Ok(all)
    }

    /// A string, or the name of a quoted symbol.
    pub(super) fn word(&self, expression: Expression<'a>) -> Result<String, Fault> {
        let found = self.resolved(expression)?;
        let word = match &found.datum.value {
            Value::String(text) => Some(text),
            Value::Symbol(name) if found.is_quoted => Some(name),
            _ => None,
        };
        word.cloned().ok_or_else(|| found.computed())
    }

    /// The words of a list. A list in it, such as the name of a module, is written as Scheme.
    pub(super) fn words(&self, expressions: &[Expression<'a>]) -> Result<Vec<String>, Fault> {
        let word = |expression: &Expression<'a>| {
            let found = self.resolved(*expression)?;
            match found.datum.list().filter(|_| found.is_quoted) {
                None => self.word(found),
                Some(parts) => {
                    let parts: Vec<Expression<'a>> = parts.iter().map(Expression::quoted).collect();
                    Ok(format!("({})", self.words(&parts)?.join(" ")))
                }
            }
        };
        expressions.iter().map(word).collect()
    }

    /// A whole number, or a product or sum of such.
    pub(super) fn number(&self, expression: Expression<'a>) -> Result<i64, Fault> {
        let found = self.resolved(expression)?;
        let too_large = || Fault::new(found.datum.at, "this number is too large");
        match (&found.datum.value, found.call()) {
            (Value::Zero, _) => Ok(0),
            (Value::Number, _) => {
                let rest = &self.text[found.datum.at..];
                let ends = |char: char| char.is_whitespace() || "()[]\";".contains(char);
                let end = rest.find(ends).unwrap_or(rest.len());
                if !rest[..end].bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(found.computed());
                }
                rest[..end].parse().map_err(|_| found.computed())
            }
            (_, Some((operator @ ("*" | "+"), terms))) if terms.len() <= 8 => {
                let mut total: i64 = i64::from(operator == "*");
                for term in terms {
                    let term = Expression::of(term);
                    let term = self.inside(term, || self.number(term))?;
                    let next =
                        if operator == "*" { total.checked_mul(term) } else { total.checked_add(term) };
                    total = next.ok_or_else(too_large)?;
                }
                Ok(total)
            }
            _ => Err(found.computed()),
        }
    }

    pub(super) fn boolean(&self, expression: Expression<'a>) -> Result<bool, Fault> {
        let found = self.resolved(expression)?;
        match found.datum.value {
            Value::Boolean(value) => Ok(value),
            _ => Err(found.computed()),
        }
    }
}
