/// How long a peer is measured before its rate is known, in milliseconds.
const SPAN: u64 = 2000;

/// The rate at which a peer has recently read data.
#[derive(Debug)]
pub(super) struct Rate {
    /// When the current span started, in milliseconds.
    begun: u64,
    /// How many bytes were read in the current span.
    taken: u64,
    /// The bytes per second of the span before.
    before: Option<u64>,
}

impl Rate {
    pub(super) const fn new(now: u64) -> Self {
        Self { begun: now, taken: 0, before: None }
    }

    /// Counts bytes that the peer has read.
    pub(super) fn add(&mut self, now: u64, bytes: usize) {
        self.taken += bytes as u64;
        if now.saturating_sub(self.begun) >= SPAN {
            *self = Self { before: self.per_second(now), ..Self::new(now) };
        }
    }

    /// The bytes per second; `None` until it is known.
    pub(super) fn per_second(&self, now: u64) -> Option<u64> {
        let span = now.saturating_sub(self.begun);
        if span >= SPAN { Some(self.taken * 1000 / span) } else { self.before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_what_a_peer_took_last() {
        let mut rate = Rate::new(1000);
        rate.add(1000, 8_000_000);
        assert_eq!(rate.per_second(2999), None, "it is too early");
        assert_eq!(rate.per_second(3000), Some(4_000_000));
        rate.add(3000, 0);
        assert_eq!(rate.per_second(4000), Some(4_000_000));
        assert_eq!(rate.per_second(5000), Some(0), "it takes nothing any more");
        rate.add(7000, 4000);
        assert_eq!(rate.per_second(7000), Some(1000));
    }
}
