use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of this machine at which nobody listens until somebody is told to: no one else gets it meanwhile,
/// and whoever does listen reuses addresses, as servers do.
pub struct Port {
    pub address: SocketAddr,
    /// Bound, but it does not listen.
    _place: TcpSocket,
}

impl Port {
    pub fn free() -> Self {
        let place = TcpSocket::new_v4().unwrap();
        place.set_reuseaddr(true).unwrap();
        place.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        Self { address: place.local_addr().unwrap(), _place: place }
    }
}
