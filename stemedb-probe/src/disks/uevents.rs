//! What the kernel tells of devices that appear (`NETLINK_KOBJECT_UEVENT`, lib/kobject_uevent.c).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};

/// The kernel's own messages, as opposed to those of udev.
const FROM_KERNEL: u32 = 1;
/// The longest (`UEVENT_BUFFER_SIZE` and the path).
const LONGEST: usize = 8_192;

/// A socket that gets them.
pub fn listen() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkKObjectUEvent)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, FROM_KERNEL))?;
    Ok(socket)
}

/// Takes in what has come; whether anything was about a disk, or may have been.
pub fn any_of_a_disk(socket: &OwnedFd) -> bool {
    let mut message = [0; LONGEST];
    let mut found = false;
    loop {
        match recv(socket.as_raw_fd(), &mut message, MsgFlags::empty()) {
            Ok(len) => found |= is_of_a_disk(&message[..len]),
            // Some were dropped.
            Err(nix::Error::ENOBUFS) => found = true,
            Err(nix::Error::EINTR) => {}
            Err(_) => return found,
        }
    }
}

/// A message is lines that end with a zero.
fn is_of_a_disk(message: &[u8]) -> bool {
    message.split(|byte| *byte == 0).any(|line| line == b"SUBSYSTEM=block")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_of_the_subsystem_block() {
        let message = |subsystem: &str| format!("add@/devices/x\0ACTION=add\0SUBSYSTEM={subsystem}\0SEQNUM=1\0");
        assert!(is_of_a_disk(message("block").as_bytes()));
        assert!(!is_of_a_disk(message("blocks").as_bytes()) && !is_of_a_disk(message("net").as_bytes()));
    }
}
