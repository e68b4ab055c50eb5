//! Requests of the block layer and their bios.

use stemedb_ebpf::disk::{ASKED_FLUSH, ASKED_FUA, DiskOp, disk_op};

use super::maps::{offset, setting};
use super::read::{self, Addr};

/// What the flags of a request or a bio say that it does; `None` where it is no I/O.
#[inline(always)]
pub fn op_of(flags: u32) -> Option<DiskOp> {
    // REQ_OP_MASK
    disk_op(flags & 0xff)
}

/// What they ask for: [`ASKED_FLUSH`], [`ASKED_FUA`].
#[inline(always)]
pub fn asked(flags: u32) -> u16 {
    let bit = |number: u32| (flags >> (number & 31) & 1) as u16;
    (bit(setting!(preflush_bit)) * ASKED_FLUSH) | (bit(setting!(fua_bit)) * ASKED_FUA)
}

/// Whether flags mark a page of a process that is swapped.
#[inline(always)]
pub fn is_swap(flags: u32) -> bool {
    flags & setting!(swap_flag) != 0
}

/// `struct request`, an argument of a tracepoint.
#[derive(Clone, Copy)]
pub struct Request(*const u8);

impl Request {
    /// # Safety
    /// As for [`read::typed`].
    #[inline(always)]
    pub unsafe fn new(at: *const u8) -> Self {
        Self(at)
    }

    /// By what it is known until it ends.
    #[inline(always)]
    pub fn address(self) -> Addr {
        self.0 as Addr
    }

    #[inline(always)]
    fn field<T: Copy>(self, offset: usize) -> T {
        // SAFETY: see `new`.
        unsafe { read::typed(self.0, offset) }
    }

    /// What it does; `None` where it is no I/O.
    #[inline(always)]
    pub fn op(self) -> Option<DiskOp> {
        op_of(self.flags())
    }

    /// `cmd_flags`
    #[inline(always)]
    pub fn flags(self) -> u32 {
        self.field(offset!(rq_flags))
    }

    /// Whether it is one step of a flush, and will end once more.
    #[inline(always)]
    pub fn is_step(self) -> bool {
        self.field::<u32>(offset!(rq_state)) >> (setting!(flush_sequence_bit) & 31) & 1 != 0
    }

    /// Bytes that it has left.
    #[inline(always)]
    pub fn bytes(self) -> u32 {
        self.field(offset!(rq_len))
    }

    /// The device that it was sent to, a partition where it was one; a flush that the block layer sends has the whole disk only.
    /// (`request.part` is not set yet when a request begins, and not at all where the queue keeps no statistics.)
    #[inline(always)]
    pub fn device(self) -> u32 {
        let bio: *const u8 = self.field(offset!(rq_bio));
        // SAFETY: each is loaded from a typed pointer, from the first on; a fault reads as zero.
        unsafe {
            if !bio.is_null() {
                let device: *const u8 = read::typed(bio, offset!(bio_device));
                return if device.is_null() { 0 } else { read::typed(device, offset!(bdev_dev)) };
            }
            let queue: *const u8 = self.field(offset!(rq_queue));
            let disk: *const u8 = read::typed(queue, offset!(queue_disk));
            if disk.is_null() {
                return 0;
            }
            let whole: *const u8 = read::typed(disk, offset!(disk_part0));
            if whole.is_null() { 0 } else { read::typed(whole, offset!(bdev_dev)) }
        }
    }

    /// Its first bio, if it has one.
    #[inline(always)]
    pub fn bio(self) -> Bio {
        // SAFETY: loaded from a typed pointer.
        unsafe { Bio::new(self.field(offset!(rq_bio))) }
    }

    /// The same as an address, for functions that the verifier looks at by themselves.
    #[inline(always)]
    pub fn first_bio(self) -> Bio {
        Bio::at(read::at(self.address(), offset!(rq_bio)).unwrap_or(0))
    }

    /// Whether it has more bios than one.
    #[inline(always)]
    pub fn is_merged(self) -> bool {
        self.field::<Addr>(offset!(rq_bio)) != self.field::<Addr>(offset!(rq_biotail))
    }
}

/// `struct bio`
#[derive(Clone, Copy)]
pub struct Bio {
    at: *const u8,
    /// Whether the verifier knows that it is one. Always a constant where it is used: everything here is inlined.
    typed: bool,
}

impl Bio {
    /// An argument of a tracepoint, or what was loaded from one.
    ///
    /// # Safety
    /// As for [`read::typed`].
    #[inline(always)]
    pub unsafe fn new(at: *const u8) -> Self {
        Self { at, typed: true }
    }

    /// The one at an address.
    #[inline(always)]
    pub fn at(address: Addr) -> Self {
        Self { at: address as *const u8, typed: false }
    }

    /// Where it is.
    #[inline(always)]
    pub fn address(self) -> Addr {
        self.at as Addr
    }

    /// Zero where it cannot be read.
    #[inline(always)]
    fn field<T: Copy + Default>(self, offset: usize) -> T {
        if self.typed {
            // SAFETY: see `new`.
            return unsafe { read::typed(self.at, offset) };
        }
        read::at(self.address(), offset).unwrap_or_default()
    }

    /// Whether there is one.
    #[inline(always)]
    pub fn is_there(self) -> bool {
        !self.at.is_null()
    }

    /// `bi_opf`
    #[inline(always)]
    pub fn flags(self) -> u32 {
        self.field(offset!(bio_flags))
    }

    /// The device that it was sent to; 0 where that cannot be read.
    #[inline(always)]
    pub fn device(self) -> u32 {
        read::at::<Addr>(self.address(), offset!(bio_device))
            .and_then(|device| read::at(device, offset!(bdev_dev)))
            .unwrap_or(0)
    }

    /// The next one of the request.
    #[inline(always)]
    pub fn next(self) -> Self {
        Self::at(read::at(self.address(), offset!(bio_next)).unwrap_or(0))
    }

    /// Its bytes.
    #[inline(always)]
    pub fn bytes(self) -> u32 {
        self.field(offset!(bio_size))
    }

    /// The function that ends it.
    #[inline(always)]
    pub fn end(self) -> Addr {
        self.field(offset!(bio_end))
    }

    /// What that function finds its way by.
    #[inline(always)]
    pub fn private(self) -> Addr {
        self.field(offset!(bio_private))
    }

    /// The first page that it has left; of a large folio the first one. 0 where it has no data.
    #[inline(always)]
    pub fn page(self) -> Addr {
        // include/linux/bvec.h: `struct bio_vec` is a pointer and two `unsigned int`.
        const VEC: u64 = 16;
        if self.bytes() == 0 {
            return 0;
        }
        let index: u32 = self.field(offset!(bio_index));
        // By the helper: no arithmetic with what the verifier knows as a pointer.
        let Some(vecs) = read::at::<Addr>(self.address(), offset!(bio_vecs)) else { return 0 };
        let Some(page) = read::at::<Addr>(vecs + u64::from(index) * VEC, offset!(vec_page)) else { return 0 };
        // include/linux/page-flags.h, `_compound_head`: the lowest bit marks a page that is not the first of its folio.
        match read::at::<Addr>(page, offset!(page_head)) {
            Some(head) if head & 1 != 0 => head - 1,
            _ => page,
        }
    }
}

/// The inode whose page this is; 0 where it is no page of the page cache.
#[inline(always)]
pub fn host_of(page: Addr) -> Addr {
    // The two lowest bits mark memory of processes (`FOLIO_MAPPING_FLAGS`, before 6.16 `PAGE_MAPPING_FLAGS`).
    const OF_PROCESSES: u64 = 3;
    if page == 0 {
        return 0;
    }
    match read::at::<Addr>(page, offset!(page_mapping)) {
        Some(mapping) if mapping != 0 && mapping & OF_PROCESSES == 0 => {
            read::at(mapping, offset!(mapping_host)).unwrap_or(0)
        }
        _ => 0,
    }
}
