//! config.json: whatever the bytes say, reading ends in a value or in findings, and whatever is
//! accepted compiles to plans that can be shown.
#![no_main]

use keel::cgroup::{self, Layout, Location, Privilege};
use keel::config::json::Json;
use keel::config::spec::Spec;
use keel::init;
use keel::rootfs::plan::CgroupMount;
use keel::seccomp;
use libfuzzer_sys::fuzz_target;

const OWN: &str = "4:memory:/jobs/7\n3:cpuset:/\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/own\n";
const MOUNTS: &str = "\
34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset,noprefix
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
/// The whole of both, or only the line of v2.
const HOSTS: [(&str, &str, &str); 2] = [
    (OWN, MOUNTS, "hugetlb pids io"),
    (
        "0::/own\n",
        "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "cpuset cpu io memory hugetlb pids rdma misc",
    ),
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = Json::parse(bytes) else { return };
    match Spec::from_json(document) {
        Ok(checked) => {
            show_plan(&checked.value);
            plan_cgroups(&checked.value);
        }
        Err(errors) => {
            assert!(!errors.0.is_empty(), "refused without a finding");
            assert!(!errors.to_string().is_empty());
        }
    }
});

fn show_plan(spec: &Spec) {
    let filter = spec.linux.seccomp.as_ref().zip(seccomp::native());
    let filter = filter.and_then(|(profile, native)| seccomp::compile(profile, native).ok());
    let cgroups = [
        CgroupMount {
            name: "cpu,cpuacct".to_owned(),
            path: "/sys/fs/cgroup/cpu/c".to_owned(),
            kind: "cgroup",
            data: "cpu,cpuacct".to_owned(),
            links: vec!["cpu".to_owned(), "cpuacct".to_owned()],
        },
        CgroupMount {
            name: "unified".to_owned(),
            path: "/sys/fs/cgroup/unified/c".to_owned(),
            kind: "cgroup2",
            data: String::new(),
            links: Vec::new(),
        },
    ];
    let kernel_mounts = ["/proc".to_owned(), "/sys".to_owned()];
    let source_links = [(0, "target".to_owned())];
    for choice in [false, true] {
        let filter = filter.as_ref().map(|filter| keel::process::plan::Filter {
            program: filter.program.clone(),
            flags: filter.flags,
            lets_sendmsg: filter.lets_sendmsg,
        });
        let context = init::plan::Context {
            rootfs: keel::rootfs::plan::Context {
                bundle: "/bundle",
                cgroups: &cgroups,
                optional_cgroups: choice,
                late_cgroups: !choice,
                prepare_trees: choice,
                in_user_namespace: false,
                root_parent_mount: "/",
                no_pivot: choice,
                kernel_mounts: &kernel_mounts,
                source_links: &source_links,
            },
            process: keel::process::plan::Context {
                id: "fuzz",
                keep_keyring: choice,
                permitted: choice.then_some(0x3f),
                personality: spec.linux.personality,
                memory_policy: spec.linux.memory_policy.clone(),
                seccomp: filter,
                console_device: true,
                own_streams: choice,
                make_cwd: true,
            },
            await_start: choice,
            await_cgroups: !choice,
            ordinary_user: choice,
            preserve_fds: 0,
            hook_state: ("{\"pid\":", "}"),
        };
        let plan = init::plan::compile(spec, context);
        assert!(plan.to_string().lines().count() >= plan.steps.len(), "a step without words");
    }
}

fn plan_cgroups(spec: &Spec) {
    let Ok(location) = Location::new(spec.linux.cgroups_path.as_deref(), "fuzz") else { return };
    let resources = spec.linux.resources.clone().unwrap_or_default();
    for (own, mounts, controllers) in HOSTS {
        let mut layout = Layout::parse(own, mounts).expect("a layout as proc(5) has it");
        layout.set_v2_controllers(controllers);
        for privilege in [Privilege::Full, Privilege::Rootless] {
            match cgroup::plan(&resources, &layout, &location, privilege) {
                Ok(plan) => check(&plan),
                Err(errors) => assert!(!errors.0.is_empty(), "refused without a finding"),
            }
        }
    }
}

/// A plan stays below the mounts of cgroups, and names files of the directories that it makes.
fn check(plan: &cgroup::Plan) {
    for directory in &plan.directories {
        let below = &directory.below;
        assert!(!below.is_empty() && !below.starts_with('/'), "{below:?}");
        assert!(below.split('/').all(|name| !matches!(name, "" | "." | "..")), "{below:?}");
    }
    for write in &plan.writes {
        assert!(write.directory < plan.directories.len(), "{write}");
        assert!(!write.file.contains('/') && !write.file.starts_with(".."), "{write}");
    }
}
