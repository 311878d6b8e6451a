//! A process that a test starts beside the container, ended by its pid when the test ends.

use std::process::Command;

/// A child that is killed and reaped on drop.
#[derive(Debug)]
pub struct Child(std::process::Child);

impl Child {
    /// Starts it.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        Self(command.spawn().unwrap_or_else(|error| panic!("{what}: {error}")))
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
