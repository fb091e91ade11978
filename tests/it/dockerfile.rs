//! The Dockerfile, read: how the binary is built, and what the image holds. There is no container engine here, so its
//! last stage is checked by doing what it says.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What matters of the Dockerfile.
#[derive(Debug)]
pub struct Dockerfile {
    /// `FROM` of the last stage.
    pub base: String,
    /// What the last stage copies: from where in the build stage, to where in the image.
    pub copies: Vec<(String, String)>,
    /// `USER` of the last stage.
    pub user: String,
    /// `ENTRYPOINT` and `CMD` of the last stage, joined.
    pub command: Vec<String>,
    rustflags: String,
    target: String,
}

/// How much the binary is worth waiting for.
#[derive(Clone, Copy, Debug)]
pub enum Profile {
    /// As in the image.
    Release,
    /// Linked like it, and built in a tenth of the time.
    Dev,
}

impl Dockerfile {
    /// Reads the one of this repository, for this machine's architecture.
    pub fn read() -> Self {
        let text = std::fs::read_to_string(root().join("Dockerfile")).expect("a Dockerfile");
        let last = text.rsplit("\nFROM ").next().expect("a stage");
        let instruction = |name: &str| {
            last.lines()
                .filter_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .collect::<Vec<_>>()
        };
        let copies = instruction("COPY --from=build ")
            .into_iter()
            .filter_map(|line| line.split_once(' '))
            .map(|(from, to)| (from.to_owned(), to.to_owned()))
            .collect();
        let command = ["ENTRYPOINT ", "CMD "]
            .into_iter()
            .flat_map(instruction)
            .flat_map(|list| serde_json::from_str::<Vec<String>>(list).expect("the exec form"))
            .collect();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => panic!("no image is made for {other}"),
        };
        let (_, of_architecture) = text
            .split_once(&format!("{architecture}) target="))
            .expect("a target");
        let (target, flags) = of_architecture.split_once("; flags=\"").expect("flags");
        let (flags, _) = flags.split_once('"').expect("flags");
        let variable = |name: &str| {
            let (_, value) = text.split_once(&format!("{name}=\"")).expect("its value");
            value.split_once('"').expect("its end").0
        };
        let rustflags: Vec<&str> = flags
            .split(' ')
            .map(|name| variable(name.trim_start_matches('$')))
            .collect();
        Self {
            base: last.lines().next().unwrap_or_default().to_owned(),
            copies,
            user: instruction("USER ").concat(),
            command,
            rustflags: rustflags.join(" "),
            target: target.to_owned(),
        }
    }

    /// Builds the binary with the flags and for the target that the Dockerfile has, once.
    pub fn build(&self, profile: Profile) -> PathBuf {
        let folder = root().join("target/image");
        let mut build = Command::new("cargo");
        build
            .args(["build", "--locked", "--target", &self.target])
            .args(["--bin", "spot-interrupt-handler", "--target-dir"])
            .arg(&folder)
            .current_dir(root())
            .env("RUSTFLAGS", &self.rustflags);
        let profile = match profile {
            Profile::Release => {
                build.arg("--release");
                "release"
            }
            Profile::Dev => {
                // Nobody debugs it, and it is a third as large without.
                build.env("CARGO_PROFILE_DEV_DEBUG", "false");
                "debug"
            }
        };
        let output = build.output().expect("cargo runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        folder
            .join(&self.target)
            .join(profile)
            .join("spot-interrupt-handler")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
