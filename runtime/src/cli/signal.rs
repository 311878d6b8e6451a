//! Signals by number or name, as `kill` takes them.

use super::quote::quoted;

/// A signal number that the kernel knows, or 0, which only asks whether the process is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

/// The first and last real-time signal as users count them: the C library keeps 32 and 33.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

const NAMES: [(&str, i32); 35] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("IOT", libc::SIGIOT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("POLL", libc::SIGPOLL),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
    ("UNUSED", libc::SIGSYS),
];

impl Signal {
    /// What `kill` sends unless told otherwise.
    pub const TERM: Self = Self(libc::SIGTERM);

    /// Reads `9`, `KILL`, `SIGKILL`, `RTMIN+3`, `RTMAX-1`, in upper or lower case.
    ///
    /// # Errors
    /// The text is no signal; the message is the one that callers know from runc.
    pub fn parse(text: &str) -> Result<Self, String> {
        by_number(text)
            .or_else(|| by_name(&text.to_ascii_uppercase()))
            .map(Self)
            .ok_or_else(|| format!("unknown signal {}", quoted(text)))
    }

    /// The number for `kill(2)`.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

fn by_number(text: &str) -> Option<i32> {
    digits(text).filter(|number| *number <= RTMAX)
}

fn by_name(text: &str) -> Option<i32> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    known.or_else(|| real_time(name))
}

fn real_time(name: &str) -> Option<i32> {
    let number = match name {
        "RTMIN" => RTMIN,
        "RTMAX" => RTMAX,
        _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(above), _) => RTMIN.checked_add(digits(above)?)?,
            (_, Some(below)) => RTMAX.checked_sub(digits(below)?)?,
            _ => return None,
        },
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// A number of digits only: no sign, no space.
fn digits(text: &str) -> Option<i32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_names_in_every_spelling() {
        for (text, number) in [
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigkill", 9),
            ("Term", 15),
            ("winch", 28),
            ("CLD", 17),
            ("poll", 29),
            ("RTMIN", 34),
            ("sigrtmin+3", 37),
            ("RTMIN+30", 64),
            ("RTMAX", 64),
            ("SIGRTMAX-30", 34),
        ] {
            assert_eq!(Signal::parse(text).map(Signal::number), Ok(number), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_signal() {
        for text in [
            "",
            "SIG",
            "SIGSIGKILL",
            "65",
            "-9",
            "+9",
            " 9",
            "9 ",
            "0x9",
            "4294967305",
            "BAD",
            "RTMIN+31",
            "RTMIN+",
            "RTMIN+-1",
            "RTMIN-1",
            "RTMAX-31",
            "RTMAX+1",
            "RTMIN+99999999999",
        ] {
            let error = Signal::parse(text).unwrap_err();
            assert_eq!(error, format!("unknown signal \"{text}\""));
        }
    }
}
