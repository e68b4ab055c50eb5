//! Names of error numbers.

use std::borrow::Cow;

macro_rules! names {
    ($($name:ident)+) => { &[$((libc::$name, stringify!($name))),+] };
}

/// What the counted calls may fail with.
const NAMES: &[(i32, &str)] = names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG EBADF EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV
    ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE ERANGE EDEADLK
    ENAMETOOLONG ENOLCK ENOSYS ELOOP ENODATA ETIME ENOLINK EPROTO EBADMSG EOVERFLOW EUCLEAN EDESTADDRREQ
    EOPNOTSUPP ENOBUFS ENOTCONN ESHUTDOWN ETIMEDOUT ECONNRESET EALREADY EINPROGRESS ESTALE EREMOTEIO EDQUOT
    ENOMEDIUM ECANCELED ENOKEY EHWPOISON
};

/// The name of an error number, such as `ENOSPC`; `errno_N` for one that has no name here.
#[must_use]
pub fn errno_name(errno: i32) -> Cow<'static, str> {
    match NAMES.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("errno_{errno}")),
    }
}

/// The error number of a name that [`errno_name`] gave.
pub(crate) fn errno_number(name: &str) -> Option<i32> {
    match NAMES.iter().find(|(_, known)| *known == name) {
        Some((number, _)) => Some(*number),
        None => name.strip_prefix("errno_")?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_numbers() {
        assert_eq!(errno_name(libc::ENOSPC), "ENOSPC");
        for errno in 0..200 {
            assert_eq!(errno_number(&errno_name(errno)), Some(errno));
        }
        assert_eq!(errno_number("nonsense"), None);
    }
}
