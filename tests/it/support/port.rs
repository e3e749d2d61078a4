use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::net::TcpSocket;

/// Where ports are that the system gives to nobody who does not say which one it wants.
const FIRST: u16 = 12_000;
/// How many there are.
const COUNT: u16 = 20_000;

/// A port of this machine at which nobody listens until somebody is told to: no one else gets it meanwhile,
/// and whoever does listen reuses addresses, as servers do.
pub struct Port {
    pub address: SocketAddr,
    /// Bound, but it does not listen.
    _place: TcpSocket,
}

impl Port {
    pub fn free() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes that run side by side begin at different places.
        let begin = u16::try_from(std::process::id() * 101 % u32::from(COUNT)).unwrap();
        let place = |_| {
            let place = TcpSocket::new_v4().unwrap();
            let number = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
            place.set_reuseaddr(false).unwrap();
            place.bind((Ipv4Addr::LOCALHOST, number).into()).ok()?;
            // It was nobody's; from now on it may be that of who listens.
            place.set_reuseaddr(true).unwrap();
            Some(place)
        };
        let place = (0..COUNT).find_map(place).expect("a port is free");
        Self { address: place.local_addr().unwrap(), _place: place }
    }
}
