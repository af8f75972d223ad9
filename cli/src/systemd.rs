//! Notifications to systemd of the service's state (`Type=notify`).

/// The service listens, or has reloaded.
pub(crate) const READY: &str = "READY=1";
/// The service accepts no more requests.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// The service reloads tokens and certificates. With the time, systemd recognises its own reload request.
#[cfg(target_os = "linux")]
pub(crate) fn reloading() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
}

#[cfg(target_os = "linux")]
pub(crate) fn notify(state: &str) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return };
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let notify = |address| {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?; // a manager that does not read must not block the service
        socket.send_to_addr(state.as_bytes(), &address)
    };
    let _ = address.and_then(notify); // if this fails, systemd detects it by a timeout
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn reloading() -> String {
    String::new()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn notify(_state: &str) {}
