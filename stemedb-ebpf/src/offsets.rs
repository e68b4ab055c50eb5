//! Where the fields are in the running kernel's structures. rustc emits no CO-RE relocations: the agent
//! reads the kernel's BTF, resolves each row of [`FIELDS`] by name and sets the table as a frozen
//! `.rodata` global before load, where the verifier folds it into constants.

/// How much the agent needs a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it no file can be told from another.
    Files,
    /// Only these rules or operations need it; without it they are off, with the reason.
    ExePath,
    /// As above, for cgroup rules.
    Cgroup,
    /// As above, for `msync`.
    Msync,
    /// As above, for io_uring.
    Uring,
    /// As above, for libaio.
    Aio,
    /// As above, for the way from a page of the page cache to its file.
    Cache,
    /// As above, for stores through mappings.
    Mapped,
    /// As above, for block I/O.
    Block,
    /// As above, for block I/O of devices that take no requests.
    BioBased,
    /// As above, to tell the I/O of journals.
    Journal,
    /// Absent on some kernels by nature; the programs ask.
    Variant,
    /// As above, for the path of a slow call's file as its process sees it.
    Paths,
    /// As above, for what threads in sync calls do.
    Sched,
    /// As above, for which request a worker of io_uring carries out.
    Workers,
    /// System-call arguments on x86-64.
    X86,
    /// System-call arguments on arm64.
    Arm64,
}

/// One field to resolve.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The structure's name.
    pub of: &'static str,
    /// Candidates for the member's path, newest kernel first.
    pub members: &'static [&'static str],
    /// Who needs it.
    pub need: Need,
}

/// An offset that could not be resolved.
pub const ABSENT: u32 = u32::MAX;

macro_rules! fields {
    ($($name:ident: $of:literal $members:expr, $need:ident;)+) => {
        /// Byte offsets, in the order of [`FIELDS`]; [`ABSENT`] where this kernel has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is named after its row in FIELDS")]
        pub struct Offsets { $(pub $name: u32),+ }

        /// Every field that the programs follow.
        pub const FIELDS: &[Field] = &[$(Field { of: $of, members: &$members, need: Need::$need }),+];

        impl Offsets {
            /// No field known.
            pub const NONE: Self = Self { $($name: ABSENT),+ };

            /// The offsets in the order of [`FIELDS`], to fill in.
            pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut u32> {
                [$(&mut self.$name),+].into_iter()
            }
        }
    };
}

fields! {
    task_files: "task_struct" ["files"], Files;
    task_tgid: "task_struct" ["tgid"], Files;
    task_pid: "task_struct" ["pid"], Files;
    task_comm: "task_struct" ["comm"], Files;
    task_kind: "task_struct" ["flags"], Files;
    task_signal: "task_struct" ["signal"], Files;
    signal_live: "signal_struct" ["live"], Files;
    files_fdt: "files_struct" ["fdt"], Files;
    fdt_max: "fdtable" ["max_fds"], Files;
    fdt_fd: "fdtable" ["fd"], Files;
    file_inode: "file" ["f_inode"], Files;
    file_flags: "file" ["f_flags"], Files;
    // `f_path` moved into a union with `__f_path` in 6.17; either name is at the same place.
    file_dentry: "file" ["f_path.dentry", "__f_path.dentry"], Files;
    file_mnt: "file" ["f_path.mnt", "__f_path.mnt"], ExePath;
    dentry_parent: "dentry" ["d_parent"], Files;
    dentry_inode: "dentry" ["d_inode"], Files;
    // `d_name` moved into a union with `__d_name` in 6.15.
    dentry_name: "dentry" ["d_name.name", "__d_name.name"], Files;
    dentry_name_len: "dentry" ["d_name.len", "__d_name.len"], Files;
    inode_mode: "inode" ["i_mode"], Files;
    inode_ino: "inode" ["i_ino"], Files;
    inode_generation: "inode" ["i_generation"], Files;
    inode_sb: "inode" ["i_sb"], Files;
    sb_dev: "super_block" ["s_dev"], Files;
    bprm_file: "linux_binprm" ["file"], ExePath;
    vfsmount_root: "vfsmount" ["mnt_root"], ExePath;
    mount_mnt: "mount" ["mnt"], ExePath;
    mount_parent: "mount" ["mnt_parent"], ExePath;
    mount_point: "mount" ["mnt_mountpoint"], ExePath;
    cgroup_kn: "cgroup" ["kn"], Cgroup;
    kn_id: "kernfs_node" ["id"], Cgroup;
    cgroup_root: "cgroup" ["root"], Cgroup;
    cgroup_root_hierarchy: "cgroup_root" ["hierarchy_id"], Cgroup;
    vma_file: "vm_area_struct" ["vm_file"], Msync;
    req_opcode: "io_kiocb" ["opcode"], Uring;
    req_flags: "io_kiocb" ["flags"], Uring;
    req_fd: "io_kiocb" ["cqe.fd"], Uring;
    req_ctx: "io_kiocb" ["ctx"], Uring;
    sync_flags: "io_sync" ["flags"], Uring;
    sqe_fsync_flags: "io_uring_sqe" ["fsync_flags"], Uring;
    rw_flags: "io_rw" ["flags"], Uring;
    cqe_res: "io_uring_cqe" ["res"], Uring;
    // Registered files became resource nodes in 6.13.
    uring_files: "io_ring_ctx" ["file_table.data.nodes", "file_table.files"], Uring;
    uring_files_nr: "io_ring_ctx" ["file_table.data.nr", "nr_user_files"], Uring;
    node_file: "io_rsrc_node" ["file_ptr"], Variant;
    fixed_file: "io_fixed_file" ["file_ptr"], Variant;
    kiocb_file: "kiocb" ["ki_filp"], Aio;
    iocb_rw_flags: "iocb" ["aio_rw_flags"], Aio;
    aio_fsync_file: "fsync_iocb" ["file"], Aio;
    aio_fsync_work: "fsync_iocb" ["work"], Aio;
    mapping_host: "address_space" ["host"], Cache;
    inode_dentries: "inode" ["i_dentry.first"], Cache;
    dentry_alias: "dentry" ["d_u.d_alias", "d_alias"], Cache;
    folio_flags: "folio" ["flags.f", "flags"], Mapped;
    folio_pages: "folio" ["_nr_pages", "_folio_nr_pages"], Mapped;
    rq_queue: "request" ["q"], Block;
    rq_flags: "request" ["cmd_flags"], Block;
    rq_state: "request" ["rq_flags"], Block;
    rq_len: "request" ["__data_len"], Block;
    rq_bio: "request" ["bio"], Block;
    rq_biotail: "request" ["biotail"], Block;
    // Since 5.14; before, the disk was a member of the request.
    queue_disk: "request_queue" ["disk"], Block;
    disk_part0: "gendisk" ["part0"], Block;
    bdev_dev: "block_device" ["bd_dev"], Block;
    // Since 5.12; before, the disk and the number of the partition.
    bio_device: "bio" ["bi_bdev"], Block;
    bio_next: "bio" ["bi_next"], Block;
    bio_size: "bio" ["bi_iter.bi_size"], Block;
    bio_index: "bio" ["bi_iter.bi_idx"], Block;
    bio_vecs: "bio" ["bi_io_vec"], Block;
    bio_end: "bio" ["bi_end_io"], Block;
    bio_private: "bio" ["bi_private"], Block;
    bio_flags: "bio" ["bi_opf"], Block;
    bio_status: "bio" ["bi_status"], BioBased;
    bdev_disk: "block_device" ["bd_disk"], BioBased;
    disk_fops: "gendisk" ["fops"], BioBased;
    // Since 5.9; before, a member of the queue.
    fops_submit: "block_device_operations" ["submit_bio"], BioBased;
    vec_page: "bio_vec" ["bv_page"], Block;
    page_head: "page" ["compound_head"], Block;
    page_mapping: "page" ["mapping"], Block;
    bh_end: "buffer_head" ["b_end_io"], Journal;
    journal_sb: "journal_s" ["j_sb_buffer"], Journal;
    // In the kernel's own type information only where the file system is no module.
    eb_log: "extent_buffer" ["log_index"], Variant;
    page_private: "page" ["private"], Journal;
    sb_magic: "super_block" ["s_magic"], Journal;
    dio_iocb: "iomap_dio" ["iocb"], Variant;
    dio_file: "kiocb" ["ki_filp"], Variant;
    task_fs: "task_struct" ["fs"], Paths;
    fs_root_mnt: "fs_struct" ["root.mnt"], Paths;
    fs_root_dentry: "fs_struct" ["root.dentry"], Paths;
    dentry_hash: "dentry" ["d_hash.pprev"], Paths;
    task_worker: "task_struct" ["worker_private"], Workers;
    worker_work: "io_worker" ["cur_work"], Workers;
    req_work: "io_kiocb" ["work"], Workers;
    // Since 5.14; before, `state`.
    task_state: "task_struct" ["__state", "state"], Sched;
    regs_di: "pt_regs" ["di"], X86;
    regs_si: "pt_regs" ["si"], X86;
    regs_dx: "pt_regs" ["dx"], X86;
    regs_r9: "pt_regs" ["r9"], X86;
    regs_orig_ax: "pt_regs" ["orig_ax"], X86;
    regs_regs: "pt_regs" ["regs"], Arm64;
    regs_orig_x0: "pt_regs" ["orig_x0"], Arm64;
    regs_syscallno: "pt_regs" ["syscallno"], Arm64;
    // TIF_32BIT, as below.
    task_flags: "task_struct" ["thread_info.flags"], Arm64;
    // TS_COMPAT marks a 32-bit system call, whose numbers mean something else.
    task_status: "task_struct" ["thread_info.status"], X86;
}

const _: () = assert!(size_of::<Offsets>() == 4 * FIELDS.len());
