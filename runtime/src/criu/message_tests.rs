//! Requests against bytes that another implementation wrote, and responses of a real criu.

#![allow(clippy::unwrap_used)]
use super::*;

fn fields(bytes: &[u8]) -> Vec<(u32, Value<'_>)> {
    Fields::of(bytes).collect::<Result<_, _>>().unwrap()
}

#[test]
fn asks_for_the_version_and_keeps_the_connection() {
    assert_eq!(Request::Version.encode(), [0x08, 10, 0x20, 1]);
    assert_eq!(Request::Noted { go_on: true }.encode(), [0x08, 6, 0x18, 1]);
    assert_eq!(Request::Noted { go_on: false }.encode(), [0x08, 6, 0x18, 0]);
    let wanted = Features { memory_tracking: true, lazy_pages: false };
    assert_eq!(Request::Check(wanted).encode(), [0x08, 9, 0x20, 1, 0x2a, 2, 0x08, 1]);
}

#[test]
fn writes_every_option_under_its_number() {
    let options = Options {
        images: 5,
        work: Some(6),
        log_file: "dump.log".to_owned(),
        root: "/r".to_owned(),
        pid: Some(7),
        parent: Some("../p".to_owned()),
        config_file: Some("/c".to_owned()),
        freezer: Some("/f".to_owned()),
        page_server: Some(("::1".to_owned(), 27277)),
        status_fd: Some(8),
        cgroups: CgroupsMode::Ignore,
        cgroup_roots: vec![("cpu".to_owned(), "/a".to_owned())],
        mounts: vec![("/m".to_owned(), "/n".to_owned())],
        external: vec!["net[1]:extRootNetNS".to_owned()],
        inherited: vec![("pipe:[9]".to_owned(), 1)],
        joined: vec![("uts".to_owned(), "/u".to_owned())],
        empty_namespaces: 0x4000_0000,
        lsm_profile: Some("selinux:x".to_owned()),
        lsm_mount_context: Some("y".to_owned()),
        leave_running: true,
        ext_unix_sk: true,
        tcp_established: true,
        tcp_skip_in_flight: true,
        tcp_close: true,
        shell_job: true,
        file_locks: true,
        link_remap: true,
        track_memory: true,
        auto_dedup: true,
        lazy_pages: true,
        evasive_devices: true,
        as_sibling: true,
    };
    let bytes = Request::Do(Kind::Dump, Box::new(options)).encode();
    let [(1, Value::Number(1)), (2, Value::Bytes(inner))] = fields(&bytes)[..] else {
        panic!("{bytes:x?}");
    };
    let all = fields(inner);
    let mut numbers: Vec<u32> = all.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    let expected = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 23, 24, 25, 26, 27, 34, 37,
        38, 39, 44, 46, 48, 49, 50, 51, 52, 53, 63,
    ];
    assert_eq!(numbers, expected);
    let value = |wanted| all.iter().find(|(number, _)| *number == wanted).unwrap().1;
    assert_eq!(value(1), Value::Number(5));
    assert_eq!(value(2), Value::Number(7));
    assert_eq!(value(34), Value::Number(0));
    assert_eq!(value(38), Value::Number(0x4000_0000));
    assert_eq!(value(11), Value::Bytes(b"\x0a\x03::1\x10\x8d\xd5\x01"));
    assert_eq!(value(23), Value::Bytes(b"\x0a\x02/m\x12\x02/n"));
    assert_eq!(value(27), Value::Bytes(b"\x0a\x08pipe:[9]\x10\x01"));
}

#[test]
fn leaves_out_what_was_not_asked_for() {
    let bytes = Request::Do(Kind::Restore, Box::default()).encode();
    let [(1, Value::Number(2)), (2, Value::Bytes(inner))] = fields(&bytes)[..] else {
        panic!("{bytes:x?}");
    };
    let numbers: Vec<u32> = fields(inner).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 9, 10, 12, 24, 50, 13, 34, 38]);
}

#[test]
fn reads_a_version() {
    // As criu 4.2.1 answers.
    let response = Response::decode(b"\x08\x0a\x10\x01\x52\x06\x08\x04\x10\x02\x20\x01").unwrap();
    assert_eq!((response.kind, response.version), (Some(Kind::Version), Some(40_201)));
    let from_git = b"\x08\x0a\x10\x01\x52\x0b\x08\x03\x10\x0f\x1a\x03abc\x20\x01";
    assert_eq!(Response::decode(from_git).unwrap().version, Some(31_600));
}

#[test]
fn reads_notices_results_and_refusals() {
    let notice = Response::decode(b"\x08\x06\x10\x01\x2a\x0d\x0a\x09post-dump\x10\x07").unwrap();
    assert_eq!(notice.notice, Some(("post-dump".to_owned(), 7)));
    let restored = Response::decode(b"\x08\x02\x10\x01\x22\x03\x08\xac\x02").unwrap();
    assert_eq!((restored.kind, restored.restored), (Some(Kind::Restore), Some(300)));
    let refused = Response::decode(b"\x08\x01\x10\x00\x38\x16\x4a\x03bad\xa0\x06\x01").unwrap();
    assert_eq!((refused.success, refused.errno), (false, 22));
    assert_eq!(refused.message.as_deref(), Some("bad"));
    let features = Response::decode(b"\x08\x09\x10\x01\x42\x04\x08\x00\x10\x01").unwrap();
    assert_eq!(features.features, Features { memory_tracking: false, lazy_pages: true });
    assert_eq!(Response::decode(b"\x08\x63\x10\x01").unwrap().kind, None);
}

#[test]
fn refuses_what_lacks_a_required_field_or_has_another_type() {
    for (bytes, field) in [
        (&b""[..], 1),
        (b"\x10\x01", 1),
        (b"\x08\x01", 2),
        (b"\x0a\x01\x01\x10\x01", 1),
        (b"\x08\x06\x10\x01\x28\x01", 5),
        (b"\x08\x06\x10\x01\x2a\x02\x08\x01", 1),
    ] {
        assert_eq!(Response::decode(bytes), Err(Malformed::Unexpected(field)), "{bytes:x?}");
    }
}

#[test]
fn reads_the_words_of_the_command_line() {
    assert_eq!(CgroupsMode::parse(""), Some(CgroupsMode::Default));
    assert_eq!(CgroupsMode::parse("strict"), Some(CgroupsMode::Strict));
    assert_eq!(CgroupsMode::parse("SOFT"), None);
}
