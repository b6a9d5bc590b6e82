//! The binary as a user runs it.
#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The binary in `dir`, free of the caller's settings, with its state in `dir` as well.
pub(crate) fn mainswarm(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainswarm"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MAINSWARM_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(dir)
        .env("XDG_STATE_HOME", dir.join("state"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs to the end, checks the exit code, returns stdout and stderr.
pub(crate) fn expect(dir: &Path, args: &[&str], code: i32) -> (String, String) {
    checked(args, mainswarm(dir, args).output().unwrap(), code)
}

/// Stdout and stderr of what has run, if it ended with this code.
pub(crate) fn checked(args: &[&str], output: Output, code: i32) -> (String, String) {
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let found = output.status.code();
    assert_eq!(
        found,
        Some(code),
        "{args:?}\nstdout: {stdout}\nstderr: {stderr}"
    );
    (stdout, stderr)
}

/// One object of this schema.
pub(crate) fn json(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(value["schema"], 1, "{text}");
    value
}
