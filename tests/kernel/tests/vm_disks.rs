//! Disks that fail and disks that are slow.

#[test]
fn there_is_a_device_mapper() {
    assert!(std::path::Path::new("/dev/mapper/control").exists());
}
