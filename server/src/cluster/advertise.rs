//! The address at which other services reach this one, if it listens on all addresses and none is configured.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::PORT;
use super::seeds::{Resolver, Seeds};
use crate::start_error::StartError;

/// Addresses elsewhere, to which nothing is sent (RFC 5737, RFC 3849).
const ELSEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// The address from which the system would send to the services to join, or else to other machines.
pub(super) async fn own_address(
    join: &[String],
    resolver: &Resolver,
    bound: SocketAddr,
) -> Result<SocketAddr, StartError> {
    let seeds = Seeds::new(join.to_vec(), resolver.clone(), bound).round().await;
    let elsewhere = ELSEWHERE.map(|ip| SocketAddr::new(ip, PORT));
    let is_usable = |target: &SocketAddr| bound.is_ipv6() || target.is_ipv4();
    for target in seeds.into_iter().chain(elsewhere).filter(is_usable) {
        if let Ok(address) = source(target).await {
            return Ok(SocketAddr::new(address.ip(), bound.port()));
        }
    }
    Err(StartError::NeedsAdvertise)
}

/// The address from which the system sends to `target`. Connecting a UDP socket sends nothing.
async fn source(target: SocketAddr) -> io::Result<SocketAddr> {
    let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(target).await?;
    socket.local_addr()
}
