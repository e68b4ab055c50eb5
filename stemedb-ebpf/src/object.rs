//! What every object needs, whatever its programs do.

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier accepts no program in which it could be.
    loop {}
}

/// The licence that the kernel checks before it lends GPL-only helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
