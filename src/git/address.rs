//! Tells public addresses from others. A repository that a stranger names must not lead to this
//! machine or to networks that only it can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;

/// Hosts and networks that the operator permits although they are not public.
#[derive(Debug, Clone, Default)]
pub struct PrivateHosts(Arc<[PrivateHost]>);

/// A host, by its name, or all hosts of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrivateHost {
    /// A host with exactly this name.
    Name(String),
    /// All addresses that share this many leading bits with this one.
    Network(IpAddr, u32),
}

impl PrivateHosts {
    /// Permits `hosts`.
    pub fn new(hosts: impl IntoIterator<Item = PrivateHost>) -> Self {
        Self(hosts.into_iter().collect())
    }

    /// Whether the host `name` is permitted, whatever its addresses.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.0.iter().any(|host| matches!(host, PrivateHost::Name(known) if known.eq_ignore_ascii_case(name)))
    }

    /// Whether `address` is permitted.
    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|host| match host {
            PrivateHost::Network(network, bits) => contains(*network, *bits, address),
            PrivateHost::Name(_) => false,
        })
    }
}

impl FromStr for PrivateHost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is neither a host nor a network: write `git.example.org`, `10.1.2.3` or `10.0.0.0/8`"
            )
        };
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        if let Ok(address) = address.parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
            return if bits <= most { Ok(Self::Network(address, bits)) } else { Err(wrong()) };
        }
        let matches_pattern = bits.is_none() && is_host_name(text);
        if matches_pattern { Ok(Self::Name(text.to_owned())) } else { Err(wrong()) }
    }
}

/// Whether `text` is a host name, and not an unusual spelling of an address.
pub(super) fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
    };
    // Some programs read names that end in a number as an address: `2130706433`, `127.1`, `0x7f.1`.
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or(last.strip_prefix("0X"));
    let number = last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.len() <= 253 && text.split('.').all(label) && !number
}

fn contains(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => in_network(network, bits, address),
        _ => false,
    }
}

fn in_network(network: Ipv6Addr, bits: u32, address: Ipv6Addr) -> bool {
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    (network.to_bits() ^ address.to_bits()) & mask == 0
}

/// Whether anybody on the Internet can reach `address` and it is not this machine's own.
pub(super) fn is_public(address: IpAddr) -> bool {
    let public = match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    };
    public && !is_own(address)
}

/// Checks against the registry of special-purpose IPv4 addresses: RFC 6890 and its successors.
fn is_public_v4(address: Ipv4Addr) -> bool {
    const SPECIAL: [([u8; 4], u32); 14] = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        // Multicast, reserved, broadcast.
        ([224, 0, 0, 0], 3),
    ];
    SPECIAL.iter().all(|(network, bits)| !contains(Ipv4Addr::from(*network).into(), *bits, address.into()))
}

/// Only global unicast is public, except for reserved ranges. A tunnel is public if its target is.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let within = |network: [u16; 8], bits| in_network(Ipv6Addr::from(network), bits, address);
    let low =
        |from: u32| Ipv4Addr::from_bits(u32::try_from(address.to_bits() >> from & 0xffff_ffff).unwrap_or(0));
    if let Some(mapped) = address.to_ipv4_mapped() {
        return is_public_v4(mapped);
    }
    if within([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96) {
        return is_public_v4(low(0));
    }
    if within([0x2002, 0, 0, 0, 0, 0, 0, 0], 16) {
        return is_public_v4(low(80));
    }
    within([0x2000, 0, 0, 0, 0, 0, 0, 0], 3)
        // Teredo, benchmarks, overlays.
        && !within([0x2001, 0, 0, 0, 0, 0, 0, 0], 23)
        && !within([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32)
        && !within([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20)
}

/// Whether `address` is this machine's own, at which services behind its firewall would answer. The
/// kernel chooses an address as the source only for packets to itself. No packet is sent for this.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn only_what_anybody_can_reach_is_public() {
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "172.32.0.1",
            "2606:4700::1111",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        let private = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "100::1",
        ];
        for address in private {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_address_in_disguise_is_no_name() {
        for name in
            ["git.example.org", "a", "xn--bcher-kva.example", "1and1.example", "my_host", "0x7f.example"]
        {
            assert!(is_host_name(name), "{name}");
        }
        let disguised = [
            "2130706433",
            "127.1",
            "0x7f000001",
            "0177.0.0.1",
            "127.0.0.0x1",
            "0X7F.1",
            "a.",
            ".a",
            "a..b",
            "é.example",
            "-a",
            "a b",
            "",
            "a%2eb",
            "0x",
        ];
        for name in disguised {
            assert!(!is_host_name(name), "{name}");
        }
    }

    #[test]
    fn the_operator_permits_names_and_networks() {
        let hosts = ["git.example.internal", "10.0.0.0/8", "192.168.1.7", "fd00::/8"];
        let hosts = PrivateHosts::new(hosts.map(|host| host.parse().unwrap()));
        assert!(hosts.has_name("Git.Example.Internal") && !hosts.has_name("example.internal"));
        for (address, expected) in [
            ("10.9.9.9", true),
            ("::ffff:10.9.9.9", true),
            ("11.0.0.1", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("fd99::1", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(hosts.has_address(address.parse().unwrap()), expected, "{address}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0.0/x", "a/8", "https://x/", "127.1", "a b"] {
            assert!(wrong.parse::<PrivateHost>().is_err(), "{wrong}");
        }
        assert!(contains("0.0.0.0".parse().unwrap(), 0, "1.2.3.4".parse().unwrap()));
    }
}
