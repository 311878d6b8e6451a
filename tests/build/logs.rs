//! What commands write: all of it is told, in every form of progress, and the memory is bounded.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd as _;
use std::process::{Command, Stdio};

use keel_tests::{ImageStore, eventually, sys, within_a_while};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn build(store: &ImageStore, flags: &[&str]) -> Command {
    let mut command = store.command(&["build", "--network=none"]);
    command.args(flags).arg("context").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The standard error of a build, byte for byte, and whether it succeeded.
fn progress_of(store: &ImageStore, flags: &[&str]) -> (Vec<u8>, bool) {
    let output = build(store, flags).output().expect("keel-image");
    (output.stderr, output.status.success())
}

/// The lines of all commands, without what plain progress has before them.
fn lines_of(progress: &[u8]) -> Vec<Vec<u8>> {
    let words = |line: &[u8]| {
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let step = words.next()?.strip_prefix(b"#")?;
        let after = words.next()?;
        let number = |word: &[u8]| word.iter().all(|b| b.is_ascii_digit() || *b == b'.');
        (number(step) && number(after)).then(|| words.next().unwrap_or_default().to_vec())
    };
    progress.split(|byte| *byte == b'\n').filter_map(words).collect()
}

/// The bytes in the logs of `--progress=rawjson`.
fn logs_of(progress: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for line in progress.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let status: Value = serde_json::from_slice(line).expect("JSON");
        for log in status["logs"].as_array().into_iter().flatten() {
            let data = log["data"].as_str().expect("data");
            all.extend(decoded(data));
        }
    }
    all
}

/// The bytes of a text in base64.
fn decoded(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = ALPHABET.iter().position(|known| *known == letter).expect("a letter of base64");
        bits = (bits << 6 | u32::try_from(value).expect("six bits")) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

/// DF-LOG-01: 50 MiB of output come whole and in order, and the memory does not grow with them.
#[test]
fn fifty_mebibytes_come_whole() {
    const LINES: usize = 512 << 10;
    let store = ImageStore::with_dockerfile(&format!(
        "FROM busybox:1\nRUN awk 'BEGIN {{ for (i = 0; i < {LINES}; i++) printf \"%099d\\n\", i }}'\n"
    ));
    for mode in ["--progress=plain", "--progress=rawjson"] {
        let told = store.beside("told");
        let mut command = build(&store, &[mode, "--no-cache"]);
        let child = command.stderr(File::create(&told).expect("a file")).spawn();
        let pid = child.expect("keel-image").id().cast_signed();
        let usage = sys::wait4(pid).expect("its end");
        assert_eq!(usage.status, 0);
        assert!(usage.rss_kib < 64 << 10, "{mode}: {} KiB", usage.rss_kib);
        let mut next = 0;
        for line in BufReader::new(File::open(&told).expect("a file")).split(b'\n') {
            let line = line.expect("a line");
            let of_command = match mode {
                "--progress=plain" => lines_of(&line).pop(),
                _ => Some(logs_of(&line)).filter(|logs| !logs.is_empty()),
            };
            let Some(of_command) = of_command else { continue };
            let text = String::from_utf8(of_command).expect("text");
            assert_eq!(text.trim_end(), format!("{next:099}"), "{mode}");
            next += 1;
        }
        assert_eq!(next, LINES, "{mode}");
    }
}

/// DF-LOG-02: a line of 4 MiB, with an end or without, is one line.
#[test]
fn a_long_line_is_one_line() {
    const BYTES: usize = 4 << 20;
    for end in ["echo", "true"] {
        let store = ImageStore::with_dockerfile(&format!(
            "FROM busybox:1\nRUN head -c {BYTES} /dev/zero | tr '\\0' x; {end}\nRUN echo after\n"
        ));
        let (plain, _) = progress_of(&store, &["--progress=plain", "--no-cache"]);
        let lines = lines_of(&plain);
        let lengths: Vec<usize> = lines.iter().map(Vec::len).collect();
        assert_eq!(lengths, [BYTES, "after".len()]);
        assert!(lines[0].iter().all(|byte| *byte == b'x'), "something stands in the line");
        let text = String::from_utf8_lossy(&plain);
        assert!(text.contains("x\n#3 DONE "), "the line has its end before the step's");
        let (raw, _) = progress_of(&store, &["--progress=rawjson", "--no-cache"]);
        let ended = if end == "echo" { "\n" } else { "" };
        let wanted = format!("{}{ended}after\n", "x".repeat(BYTES));
        assert!(logs_of(&raw) == wanted.as_bytes(), "the logs are others");
    }
}

/// DF-LOG-03: any bytes come as they are, but carriage returns: these end lines, too.
#[test]
fn any_bytes_come_as_they_are() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1\nCOPY bytes /\nRUN cat bytes\nRUN printf '1%%\\r2%%\\r\\r3%%\\r\\n\\nend\\n'\n",
    );
    // Long enough for several pieces, with characters of three bytes across their bounds.
    let mut bytes: Vec<u8> = (0..=255).filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    bytes.extend("€".repeat(100_000).bytes());
    fs::write(store.beside("context/bytes"), &bytes).expect("a file");
    let bars: [&[u8]; 5] = [b"1%", b"2%", b"3%", b"", b"end"];
    let (plain, _) = progress_of(&store, &["--progress=plain", "--no-cache"]);
    let lines = lines_of(&plain);
    assert!(lines[0] == bytes, "plain: {} bytes of {}", lines[0].len(), bytes.len());
    assert_eq!(lines[1..], bars);
    let (raw, _) = progress_of(&store, &["--progress=rawjson", "--no-cache"]);
    let logs = logs_of(&raw);
    assert!(logs.starts_with(&bytes), "the logs are others");
    assert_eq!(logs[bytes.len()..], *b"1%\n2%\n3%\n\nend\n");
}

/// DF-LOG-04: what a command writes just before its end comes, with a newline or without, also when
/// the command fails; what a process behind its back wrote before that comes, too.
#[test]
fn the_last_words_come() {
    let fill = "head -c 300000 /dev/zero | tr '\\0' x >&2; echo";
    for (end, succeeds) in [("exit 0", true), ("exit 3", false)] {
        let store = ImageStore::with_dockerfile(&format!(
            "FROM busybox:1\nRUN {fill}; (echo behind; sleep 1000) & sleep 0.1; printf 'last words'; {end}\n"
        ));
        for _ in 0..5 {
            let (plain, is_built) = progress_of(&store, &["--progress=plain", "--no-cache"]);
            assert_eq!(is_built, succeeds, "{end}");
            let lines = lines_of(&plain);
            let lengths: Vec<usize> = lines.iter().map(Vec::len).collect();
            assert_eq!(lengths, [300_000, "behind".len(), "last words".len()], "{end}");
            assert_eq!(lines[2], b"last words", "{end}");
        }
    }
}

/// DF-LOG-05: the other end of the standard error may be read slowly, and may be such that writing
/// does not wait; nothing is lost, not even the error.
#[test]
fn a_slow_reader_gets_everything() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\nRUN seq 100000; exit 3\n");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    fcntl_setfl(writer.as_fd(), OFlags::NONBLOCK).expect("a flag");
    let probe = writer.try_clone().expect("a descriptor");
    let mut command = build(&store, &["--progress=plain"]);
    let mut child = command.stderr(writer).spawn().expect("keel-image");
    drop(command);
    eventually("a full pipe", || {
        let mut full = [PollFd::new(&probe, PollFlags::OUT)];
        matches!(poll(&mut full, Some(&Timespec::default())), Ok(0)).then_some(())
    });
    drop(probe);
    let mut told = Vec::new();
    reader.read_to_end(&mut told).expect("the progress");
    assert!(!child.wait().expect("its end").success());
    let lines = lines_of(&told);
    assert_eq!(lines.len(), 100_000);
    let numbers = (1..=100_000_u32).map(|number| number.to_string().into_bytes());
    assert!(lines.into_iter().eq(numbers), "the lines are others");
    let text = String::from_utf8_lossy(&told);
    assert!(text.contains("returned a non-zero code: 3"), "the error is lost");
}

/// DF-LOG-06: the lines of plain progress are BuildKit's, and the error shows what was said last.
#[test]
fn plain_progress_is_as_buildkits() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1 AS one\nRUN echo first\nFROM one AS two\nRUN sleep 1; echo a; sleep 2; echo b\nFROM one AS three\n\
         RUN sleep 2; echo c; sleep 2; echo d\nFROM scratch\nCOPY --from=two /bin/sh /a\nCOPY --from=three /bin/sh /b\n",
    );
    let (told, is_built) = progress_of(&store, &["--progress=plain"]);
    let text = String::from_utf8(told).expect("text");
    assert!(is_built, "{text}");
    let has = |pattern: &str| text.lines().any(|line| like(line, pattern));
    for pattern in [
        "#% [one 1/2] FROM busybox:1 AS one",
        "#% [one 2/2] RUN echo first",
        "#% % first",
        "#% DONE %s",
        "#% [two 1/1] RUN sleep 1; echo a; sleep 2; echo b",
        "#% [stage-3 1/2] COPY --from=two /bin/sh /a",
    ] {
        assert!(has(pattern), "{pattern}\n{text}");
    }
    // The two stages take turns, so that each is named several times, after an empty line.
    let heading = |name: &str| text.matches(&format!("[{name} 1/1] RUN")).count();
    assert!(heading("two") >= 2 && heading("three") >= 2, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate().skip(1) {
        let is_heading = line.starts_with('#') && line.contains(" [");
        assert!(!is_heading || lines[at - 1].is_empty(), "no empty line before {line}\n{text}");
    }
    let (again, _) = progress_of(&store, &["--progress=plain"]);
    let again = String::from_utf8(again).expect("text");
    assert!(again.lines().any(|line| like(line, "#% CACHED")), "{again}");

    let text = "FROM busybox:1\nRUN seq 100; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo why; exit 3\n";
    fs::write(store.beside("context/Dockerfile"), text).expect("a file");
    let (told, is_built) = progress_of(&store, &["--progress=plain"]);
    let text = String::from_utf8(told).expect("text");
    assert!(!is_built, "{text}");
    let (progress, error) = text.split_once("\nError: ").expect("an error");
    assert!(progress.lines().any(|line| line.starts_with("#3 ERROR: ")), "{progress}");
    let shown: Vec<&str> = error.lines().filter_map(|line| line.strip_prefix("  > ")).collect();
    assert_eq!(shown[..8], ["93", "94", "95", "96", "97", "98", "99", "100"]);
    assert!(shown[8].starts_with("xxx") && shown[8].ends_with("x […]") && shown[8].len() < 5000);
    assert_eq!(shown[9..], ["why"]);
}

/// Whether a line is as the pattern, in which `%` is any number.
fn like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('%');
    let first = line.strip_prefix(parts.next().unwrap_or_default());
    let rest = parts.try_fold(first, |rest, part| {
        let rest = rest?;
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        (after.len() < rest.len()).then(|| after.strip_prefix(part))
    });
    rest.flatten() == Some("")
}

/// DF-LOG-07: at a terminal a step is one row, whatever its command writes there.
#[test]
fn a_terminal_has_a_row_for_a_step() {
    let store = ImageStore::with_dockerfile(
        "FROM busybox:1\nRUN for i in 1 2 3; do printf \"$i%%\\r\"; done; printf 'a\\033[2Jb\\007\\n'; seq 1000; \
         head -c 4000000 /dev/zero | tr '\\0' x; echo; echo last; exit 3\n",
    );
    let plain = build(&store, &["--progress=tty"]);
    let words = std::iter::once(plain.get_program()).chain(plain.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut script = Command::new("script");
    let line = format!("stty cols 60 && {}", line.join(" "));
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(store.beside("."));
    let output = script.stdin(Stdio::null()).output().expect("script");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let (progress, error) = text.split_once("Error: ").expect("an error");
    // Every time a row is written it is written from its beginning, and never beyond its end.
    let rows: Vec<&str> = progress.split("\r\u{1b}[K").collect();
    assert!(rows.len() > 1000, "every line was shown: {}", rows.len());
    for row in &rows {
        assert!(row.trim_end().chars().count() < 60, "{row:?}");
        assert!(!row.trim_end().contains(char::is_control), "{row:?}");
    }
    let ended: Vec<&&str> = rows.iter().filter(|row| row.ends_with("\r\n")).collect();
    assert_eq!(ended.len(), 3, "{ended:?}");
    assert!(ended[2].starts_with(" => ERROR [2/2] RUN "), "{ended:?}");
    assert!(error.contains("\r\n  > last\r\n"), "{error}");
}

/// DF-LOG-08: a command that never stops writing ends when the build is interrupted.
#[test]
fn a_chatty_command_is_interrupted() {
    let store = ImageStore::with_dockerfile("FROM busybox:1\nRUN yes\n");
    let mut child = build(&store, &["--progress=plain"]).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().expect("keel-image");
    let mut stderr = child.stderr.take().expect("a pipe");
    stderr.read_exact(&mut vec![0; 1 << 20]).expect("a mebibyte of output");
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::INT).expect("a signal");
    let read = std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    // A build that does not end must not outlive the test.
    let is_ended = within_a_while(|| read.is_finished());
    if !is_ended {
        let _ = child.kill();
    }
    let status = child.wait().expect("its end");
    assert!(is_ended, "it goes on");
    assert_eq!(status.code(), Some(1), "{status}");
}
