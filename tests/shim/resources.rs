//! What the shim does with a container's resources: limits, counts, want of memory, options, checkpoints.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use keel_tests::message::Message;
use keel_tests::{ShimUnderTest, criu_folder, eventually, program, requires, shim_is_peer};
use serde_json::json;

const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/n; sleep 0.02; done";

fn id(id: &str) -> Message {
    Message::new().bytes(1, id)
}

fn counted(shim: &ShimUnderTest, controller: &str, file: &str) -> String {
    let folder = Path::new("/sys/fs/cgroup").join(controller).join(shim.namespace()).join("c1");
    fs::read_to_string(folder.join(file)).expect(file).trim().to_owned()
}

/// SHIM-RES-01: `Update` sets limits, and what is no limit is refused with the runtime's words.
#[test]
fn updates_limits() {
    let shim = ShimUnderTest::start("c1", |_| ());
    shim.up("c1");
    let resources = |text: &str| {
        let kind = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
        id("c1").message(2, Message::any(kind, text))
    };
    let limits = json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 77}});
    shim.call("Update", resources(&limits.to_string())).expect("updated");
    assert_eq!(counted(&shim, "memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(counted(&shim, "pids", "pids.max"), "77");
    let error = shim.call("Update", resources("{\"memory\": 7")).expect_err("no JSON");
    assert!(!error.message.is_empty());
    assert_eq!(counted(&shim, "memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(shim.call("State", id("c1")).expect("a state").number(4), 2, "it runs on");
}

/// SHIM-RES-02: `Stats` has what the files of the cgroup say, each in its field.
#[test]
fn counts_as_the_cgroup_does() {
    let shim = ShimUnderTest::start("c1", |config| {
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 100000"
        ]);
        config["linux"]["resources"]["memory"] = json!({"limit": 67_108_864});
        config["linux"]["resources"]["pids"] = json!({"limit": 33});
    });
    shim.up("c1");
    eventually("the loop ends", || {
        let tasks = counted(&shim, "memory", "cgroup.procs");
        let name = fs::read_to_string(format!("/proc/{tasks}/comm")).ok()?;
        (name.trim() == "sleep").then_some(())
    });
    let metrics = shim.call("Stats", id("c1")).expect("stats").message(1).message(2);
    let (pids, usage, memory) =
        (metrics.message(2), metrics.message(3).message(1), metrics.message(4));
    assert_eq!((pids.number(1), pids.number(2)), (1, 33), "pids");
    let total: u64 = counted(&shim, "cpuacct", "cpuacct.usage").parse().expect("a number");
    assert!((1_000_000..=total).contains(&usage.number(1)), "{} of {total}", usage.number(1));
    let entry = memory.message(33);
    let now: u64 = counted(&shim, "memory", "memory.usage_in_bytes").parse().expect("a number");
    assert_eq!(entry.number(1), 67_108_864, "limit");
    assert!(entry.number(2) > 0 && entry.number(2).abs_diff(now) < 8 << 20, "{entry:?} {now}");
    let highest: u64 =
        counted(&shim, "memory", "memory.max_usage_in_bytes").parse().expect("a number");
    assert_eq!(entry.number(3), highest);
    assert_eq!(memory.number(16), 67_108_864, "hierarchical_memory_limit");
}

/// SHIM-RES-03: want of memory is told before the end that it brings.
#[test]
fn tells_of_want_of_memory() {
    if !requires(!shim_is_peer(), "the peer's shim sees the end first at times, and then no want") {
        return;
    }
    let shim = ShimUnderTest::start("c1", |config| {
        config["process"]["args"] = json!(["sh", "-c", "a=x; while :; do a=$a$a; done"]);
        config["linux"]["resources"]["memory"] = json!({"limit": 16_777_216, "swap": 16_777_216});
    });
    shim.up("c1");
    assert_eq!(shim.call("Wait", id("c1")).expect("its end").number(1), 137);
    let events = shim.events_until("the end", |it| it.topic == "/tasks/exit");
    let topics: Vec<&str> = events.iter().map(|it| it.topic.as_str()).collect();
    let at = |topic: &str| topics.iter().position(|it| *it == topic);
    assert!(at("/tasks/oom").is_some(), "{topics:?}");
    assert!(at("/tasks/oom") < at("/tasks/exit"), "{topics:?}");
    let oom = events.iter().find(|it| it.topic == "/tasks/oom").expect("told");
    assert_eq!(oom.fields.text(1), "c1");
}

/// SHIM-RES-04: want of memory is told when it ends another process than the first, and the container runs on.
#[test]
fn tells_of_want_of_memory_beside_the_first() {
    let shim = ShimUnderTest::start("c1", |config| {
        let script = "(a=x; while :; do a=$a$a; done); exec sleep 100000";
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["resources"]["memory"] = json!({"limit": 16_777_216, "swap": 16_777_216});
    });
    shim.up("c1");
    let events = shim.events_until("want of memory", |it| it.topic == "/tasks/oom");
    assert_eq!(events.last().expect("told").fields.text(1), "c1");
    assert_eq!(shim.call("State", id("c1")).expect("its state").number(4), 2, "it runs");
}

/// SHIM-CKPT-01: `Checkpoint` saves a container that runs on, and `Create` and `Start` begin one out of the images,
/// which goes on with its memory.
#[test]
fn saves_and_restores() {
    if !requires(!shim_is_peer(), "the peer's runc looks for criu in PATH alone") {
        return;
    }
    let shim = ShimUnderTest::start("c1", |config| {
        config["process"]["args"] = json!(["sh", "-c", COUNTER]);
    });
    let criu = criu_folder().join("criu");
    let options = || Message::new().bytes(8, criu.display().to_string());
    // In the container's memory, which is saved with the file that may just be open.
    let count_of = |pid: u64| -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/root/dev/shm/n")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    shim.call("Create", shim.creation_with("c1", options())).expect("created");
    let pid = shim.call("Start", id("c1")).expect("started").number(1);
    let count = || count_of(pid);
    eventually("it counts", || (count() > 20).then_some(()));
    let images = shim.folder().join("images").display().to_string();
    shim.call("Checkpoint", id("c1").bytes(2, &images)).expect("saved");
    assert!(Path::new(&images).join("inventory.img").exists());
    let events = shim.events_until("it is told", |it| it.topic == "/tasks/checkpointed");
    let told = events.iter().find(|it| it.topic == "/tasks/checkpointed").expect("told");
    assert_eq!((told.fields.text(1), told.fields.text(2)), ("c1".to_owned(), images.clone()));
    let saved = count();
    eventually("it goes on", || (count() > saved + 20).then_some(()));
    shim.call("Kill", id("c1").number(3, 9)).expect("killed");
    shim.call("Wait", id("c1")).expect("its end");
    shim.call("Delete", id("c1")).expect("deleted");
    let creation = shim.creation_with("c1", options()).bytes(8, &images);
    shim.call("Create", creation).expect("announced");
    let pid = shim.call("Start", id("c1")).expect("restored").number(1);
    let restored = eventually("it counts on", || Some(count_of(pid)).filter(|&it| it > 0));
    assert!((20..=saved + 20).contains(&restored), "{restored} after {saved}");
    assert_eq!(shim.call("State", id("c1")).expect("a state").number(4), 2);
    let error = shim.call("Checkpoint", id("c1")).expect_err("no path");
    assert!(error.code == 3 || shim_is_peer(), "{error:?}");
}

/// SHIM-CKPT-02: images that are none fail at `Start` with the runtime's words, and the task can be deleted.
#[test]
fn refuses_images_that_are_none() {
    let shim = ShimUnderTest::start("c1", |_| ());
    let options = Message::new().bytes(8, criu_folder().join("criu").display().to_string());
    let nothing = shim.folder().join("nothing");
    fs::create_dir(&nothing).expect("a folder");
    let creation = shim.creation_with("c1", options).bytes(8, nothing.display().to_string());
    shim.call("Create", creation).expect("announced");
    let error = shim.call("Start", id("c1")).expect_err("no images");
    assert!(error.message.contains("restore failed") || shim_is_peer(), "{error:?}");
    shim.call("Delete", id("c1")).expect("deleted");
}

/// SHIM-OPT-02: every option comes to the runtime as its flag, and those that are unknown are passed over.
#[test]
fn options_become_flags() {
    if !requires(!shim_is_peer(), "the peer takes no criu of another path here") {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    let asked = shim.folder().join("asked");
    let text = format!("#!/bin/sh\necho \"$*\" >>{}\nexit 1\n", asked.display());
    let runtime = shim.folder().join("runtime");
    fs::write(&runtime, text).expect("a script");
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).expect("chmod");
    let options = Message::new()
        .number(1, 1)
        .number(2, 1)
        .bytes(6, runtime.display().to_string())
        .bytes(8, "/no/criu")
        .number(9, 1)
        .bytes(12, "unix:///run/tasks")
        .number(13, 3)
        .bytes(99, "of later days");
    shim.call("Create", shim.creation_with("c1", options)).expect_err("it fails");
    let asked = fs::read_to_string(asked).expect("asked");
    let create = asked.lines().next().expect("a line");
    let root = shim.folder().join("state").join(shim.namespace());
    for word in [
        format!("--root {} ", root.display()),
        " --log-format json ".to_owned(),
        " --systemd-cgroup ".to_owned(),
        " --criu /no/criu ".to_owned(),
        " create ".to_owned(),
        " --no-pivot ".to_owned(),
        " --no-new-keyring ".to_owned(),
    ] {
        assert!(create.contains(&word), "{word:?} in {create}");
    }
    let other = shim.creation("c1").message(10, Message::any("some.other.Options", b"x"));
    assert_eq!(shim.call("Create", other).expect_err("unknown options").code, 3);
}

/// SHIM-OPT-03: IoUid and IoGid own the streams.
#[test]
fn streams_have_their_owner() {
    if !requires(
        !shim_is_peer(),
        "the peer's are pipes, which runc hands on to the container's user",
    ) {
        return;
    }
    let shim = ShimUnderTest::start("c1", |_| ());
    let paths = ["out", "err"].map(|name| shim.folder().join(name));
    assert!(Command::new("mkfifo").args(&paths).status().expect("mkfifo").success());
    let open = |path| fs::OpenOptions::new().read(true).write(true).open(path).expect("a reader");
    let readers = paths.each_ref().map(open);
    let [out, err] = paths.map(|it| it.display().to_string());
    let options = Message::new().number(4, 1234).number(5, 4321);
    let creation = shim.creation_with("c1", options).bytes(6, out).bytes(7, err);
    let pid = shim.call("Create", creation).expect("created").number(1);
    let stream = fs::metadata(format!("/proc/{pid}/fd/1")).expect("a stream");
    assert_eq!((stream.uid(), stream.gid()), (1234, 4321));
    drop(readers);
}

/// SHIM-OPT-04: ShimCgroup is where the shim itself is counted; one that is not there is refused at `start`.
#[test]
fn the_shim_has_its_cgroup() {
    if !requires(!shim_is_peer(), "the peer leaves a shim behind where there is no such cgroup") {
        return;
    }
    let shim = ShimUnderTest::not_started();
    shim.bundle("c1", |_| ());
    let group = format!("shim-itself-{}", std::process::id());
    let options =
        |path: &str| Message::any("containerd.runc.v1.Options", Message::new().bytes(3, path).0);
    let folder = Path::new("/sys/fs/cgroup/memory").join(&group);
    fs::create_dir(&folder).expect("a cgroup");
    let answer = shim.call_start("c1", &options(&group).0).succeeds().stdout;
    let shim = shim.at(&answer);
    shim.up("c1");
    let text = fs::read_to_string(format!("/proc/{}/cgroup", shim.pid())).expect("cgroups");
    assert!(text.lines().any(|it| it.ends_with(&format!(":memory:/{group}"))), "{text}");
    shim.bundle("c2", |_| ());
    shim.call_start("c2", &options("no/such/cgroup").0)
        .exits(1)
        .says(&["ShimCgroup no/such/cgroup"]);
    shim.call_start("c2", &options("../up").0).exits(1).says(&["ShimCgroup"]);
    drop(shim);
    eventually("the shim is gone", || fs::remove_dir(&folder).ok());
}

/// SHIM-INFO-01: `-info` has name, version and the features of the runtime that the options name; one that hangs or
/// has none is waited for with a bound, and told without.
#[test]
fn tells_what_it_is() {
    if !requires(!shim_is_peer(), "the shim of containerd 1.6 has no -info") {
        return;
    }
    let info = |runtime: &str| {
        let scratch = keel_tests::Scratch::new();
        let input = scratch.join("input");
        let options = Message::new().bytes(6, runtime);
        fs::write(&input, Message::any("containerd.runc.v1.Options", options.0).0).expect("input");
        let mut command = Command::new(program("containerd-shim-keel-v2"));
        let output = command.arg("-info").stdin(fs::File::open(input).expect("input")).output();
        let output = output.expect("the shim");
        assert!(output.status.success());
        keel_tests::message::Fields::parse(&output.stdout)
    };
    let told = info(&program("keel").display().to_string());
    assert_eq!(told.text(1), "io.containerd.keel.v2");
    assert!(!told.message(2).text(1).is_empty(), "a version");
    let features: serde_json::Value = serde_json::from_str(&told.message(4).text(2)).expect("JSON");
    assert!(features["hooks"].is_array(), "{features}");
    assert_eq!(info("/bin/false").text(4), "");
    let scratch = keel_tests::Scratch::new();
    let hanging = scratch.join("hanging");
    fs::write(&hanging, "#!/bin/sh\nexec sleep 100000\n").expect("a script");
    fs::set_permissions(&hanging, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(info(&hanging.display().to_string()).text(4), "");
}

/// SHIM-MOUNT-01: a root that is a file with a file system is mounted by a loop device, which goes with the container.
#[test]
fn mounts_a_file() {
    if !requires(!shim_is_peer(), "the shim of containerd 1.6 knows no loop devices") {
        return;
    }
    let shim = ShimUnderTest::start("c1", |config| config["root"] = json!({"path": "rootfs"}));
    let image = shim.folder().join("image.ext4");
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.stdout(std::process::Stdio::null())
        .args(["-q", "-d"])
        .arg(shim.folder().join("rootfs"))
        .arg(&image)
        .arg("64m");
    assert!(mkfs.status().expect("mkfs.ext4").success());
    let mount = |options: &[&str]| {
        let mount = Message::new().bytes(1, "ext4").bytes(2, image.display().to_string());
        options.iter().fold(mount, |mount, option| mount.bytes(4, option))
    };
    let devices = || -> Vec<String> {
        let blocks = fs::read_dir("/sys/block").expect("devices").flatten();
        let files =
            blocks.filter_map(|it| fs::read_to_string(it.path().join("loop/backing_file")).ok());
        files.filter(|it| it.trim() == image.to_string_lossy()).collect()
    };
    for options in [&["loop"][..], &["loop", "ro"]] {
        let create = || shim.creation("c1").message(3, mount(options));
        shim.call("Create", create()).expect("created");
        let started = shim.call("Start", id("c1")).expect("started");
        assert_eq!(devices().len(), 1, "{options:?}");
        let inside = format!("/proc/{}/root/made", started.number(1));
        assert_eq!(fs::write(inside, "x").is_ok(), options.len() == 1, "{options:?}");
        shim.call("Kill", id("c1").number(3, 9)).expect("killed");
        shim.call("Wait", id("c1")).expect("its end");
        shim.call("Delete", id("c1")).expect("deleted");
        eventually("the device is free", || devices().is_empty().then_some(()));
    }
    let missing = mount(&["loop"]).bytes(2, "/no/such/image");
    let refused =
        shim.call("Create", shim.creation("c1").message(3, missing)).expect_err("refused");
    assert!(refused.message.contains("loop device of /no/such/image: No such file"), "{refused:?}");
}
