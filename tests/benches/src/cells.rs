//! The cells of each language that do the same.

/// How many outputs a flood has.
pub const FLOOD: usize = 10_000;

/// How many lines a child writes whose age is looked at.
pub const STAMPS: usize = 50;

/// The language of a kernel's cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Commands of the program, else Rust.
    Deploy,
    /// Commands of the protocol crate's example.
    Echo,
    /// Python.
    Python,
    /// Rust.
    Rust,
}

impl Language {
    pub fn noop(self) -> &'static str {
        match self {
            Self::Deploy | Self::Rust => "// nothing",
            Self::Echo => "%noop",
            Self::Python => "pass",
        }
    }

    /// Shows [`FLOOD`] contents, where a cell can.
    pub fn displays(self) -> Option<String> {
        match self {
            Self::Echo => Some(format!("%flood {FLOOD}")),
            Self::Python => Some(format!(
                "from IPython.display import display\nfor i in range({FLOOD}): display(i)"
            )),
            Self::Deploy => Some(format!(
                "for i in 0..{FLOOD} {{ code_deploy::display(\"text/plain\", &i.to_string()); }}"
            )),
            Self::Rust => None,
        }
    }

    /// Whether a flood is measured from its first output on: before that its cell is compiled.
    pub fn is_compiled(self) -> bool {
        matches!(self, Self::Deploy | Self::Rust)
    }

    pub fn prints(self) -> String {
        match self {
            Self::Echo => format!("%prints {FLOOD}"),
            Self::Python => format!("for i in range({FLOOD}): print(i)"),
            Self::Deploy | Self::Rust => {
                format!("for i in 0..{FLOOD} {{ println!(\"{{i}}\"); }}")
            }
        }
    }

    /// Prints a line and waits for a minute.
    pub fn waits(self) -> &'static str {
        match self {
            Self::Echo => "%long",
            Self::Python => "import time\nprint('on', flush=True)\ntime.sleep(60)",
            Self::Deploy | Self::Rust => {
                "println!(\"on\"); std::thread::sleep(std::time::Duration::from_secs(60));"
            }
        }
    }

    /// Prints a line and computes without end, where a cell can.
    pub fn computes(self) -> Option<&'static str> {
        match self {
            Self::Echo => None,
            Self::Python => Some("print('on', flush=True)\nwhile True: pass"),
            Self::Deploy | Self::Rust => Some(
                "println!(\"on\"); let mut n = 0_u64; loop { n = std::hint::black_box(n + 1); }",
            ),
        }
    }

    /// A command that waits until a run has ended, in a folder where one never does.
    pub fn waits_for_run(self) -> Option<&'static str> {
        (self == Self::Deploy).then_some("%status --watch")
    }

    /// Starts a child that writes the time, in nanoseconds since 1970, [`STAMPS`] times.
    pub fn stamps(self) -> Option<String> {
        let child =
            format!("n=0; while [ $n -lt {STAMPS} ]; do date +%s%N; sleep 0.02; n=$((n+1)); done");
        match self {
            Self::Echo => None,
            Self::Python => Some(format!("import os\nos.system({child:?})")),
            Self::Deploy | Self::Rust => Some(format!(
                "std::process::Command::new(\"sh\").args([\"-c\", {child:?}]).status().unwrap().success()"
            )),
        }
    }

    /// A Rust cell that was not compiled before, and what it prints.
    pub fn rust(self, number: usize) -> Option<(String, String)> {
        let rust = matches!(self, Self::Deploy | Self::Rust);
        rust.then(|| {
            let code = format!("let x{number} = {number}_u64; println!(\"{{}}\", x{number} + 1);");
            (code, format!("{}\n", number + 1))
        })
    }
}
