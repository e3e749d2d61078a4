//! The event stream of the coordinator: `GET /events`, server-sent events.

use reqwest::Response;

use super::{explain, wire};
use crate::domain::attempt::Attempt;
use crate::steps::coordinator::Unavailable;

/// The longest event that is accepted, in bytes.
const LONGEST: usize = 4 << 20;

/// The open event stream.
#[derive(Debug)]
pub struct Events {
    response: Response,
    parser: Parser,
}

/// An event about the state of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStateEvent {
    /// The store path of the derivation, if the event has it.
    pub derivation: Option<String>,
    /// The coordinator's id of the attempt.
    pub reference: String,
    /// The state of the attempt.
    pub attempt: Attempt,
}

impl Events {
    pub(super) fn new(response: Response) -> Self {
        Self { response, parser: Parser::default() }
    }

    /// Waits for the next part of the stream. The result is empty if it is not about builds.
    pub async fn next(&mut self) -> Result<Vec<BuildStateEvent>, Unavailable> {
        match self.response.chunk().await.map_err(explain)? {
            Some(chunk) => self.parser.take(&chunk),
            None => Err(Unavailable("its events have ended".to_owned())),
        }
    }

    /// The id of the last event that was read.
    pub fn last(&self) -> Option<&str> {
        self.parser.last.as_deref()
    }
}

/// Parses events from pieces of the stream. See "Server-sent events" in the HTML standard.
#[derive(Debug, Default)]
struct Parser {
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    name: String,
    data: String,
    id: Option<String>,
    last: Option<String>,
}

impl Parser {
    fn take(&mut self, chunk: &[u8]) -> Result<Vec<BuildStateEvent>, Unavailable> {
        let mut events = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() + self.data.len() > LONGEST {
                return Err(Unavailable("an event is too long".to_owned()));
            }
            if self.line.ends_with(b"\n") {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                events.extend(self.line(line.trim_end_matches(['\n', '\r'])));
            }
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Option<BuildStateEvent> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => return self.end(),
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => {
                let sensible = value.len() <= 200 && !value.contains(char::is_control);
                self.id = sensible.then(|| value.to_owned());
            }
            _ => {}
        }
        None
    }

    fn end(&mut self) -> Option<BuildStateEvent> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        if let Some(id) = self.id.take() {
            self.last = Some(id);
        }
        let (derivation, reference, attempt) = wire::event(&name, &data)?;
        Some(BuildStateEvent { derivation, reference, attempt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_any_pieces() {
        let stream = b": hello\n\nid: 7\nevent: build-success\r\ndata: {\"build_id\":\ndata:  \"a\"}\r\n\r\nevent: other\ndata: 1\n\nid: 9\n";
        let expected =
            BuildStateEvent { derivation: None, reference: "a".to_owned(), attempt: Attempt::Succeeded };
        for size in 1..stream.len() {
            let mut parser = Parser::default();
            let events: Vec<BuildStateEvent> =
                stream.chunks(size).flat_map(|chunk| parser.take(chunk).unwrap()).collect();
            assert_eq!(events, std::slice::from_ref(&expected), "in pieces of {size}");
            assert_eq!(parser.last.as_deref(), Some("7"), "the last one has not come to its end");
        }
    }

    #[test]
    fn an_event_without_end_is_not_kept() {
        let mut parser = Parser::default();
        let mut take = || parser.take(&vec![b'x'; 1 << 20]);
        assert!((0..4).all(|_| take().is_ok()) && take().is_err());
    }
}
