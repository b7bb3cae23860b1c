use clap::ValueEnum;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Figure {
    /// From the start of the process to the first `kernel_info_reply`.
    Start,
    /// A cell that does nothing, from the request to its reply and `idle`.
    Noop,
    /// Resident memory after ten such cells.
    Memory,
    /// The same with all descendants.
    MemoryAll,
    /// 10,000 displays of one cell, to its reply and `idle`.
    Displays,
    /// The same beside a second client that reads nothing.
    DisplaysStalled,
    /// 10,000 printed lines of one cell.
    Prints,
    /// The same beside a second client that reads nothing.
    PrintsStalled,
    /// From the interrupt of a cell that waits to its reply.
    InterruptWait,
    /// From the interrupt of a cell that computes to its reply.
    InterruptCompute,
    /// From the interrupt of a command that waits to its reply.
    InterruptCommand,
    /// From when a child process of a cell writes a line until a client has it.
    ChildOutput,
    /// From `shutdown_request` to the end of the process.
    Shutdown,
    /// From the start of the next process after kill -9 to its first cell done.
    Kill,
    /// From the start of the process to its first Rust cell done.
    RustFirst,
    /// Later ones.
    RustLater,
}

/// What a figure is to be at most.
#[derive(Debug, Clone, Copy, Default)]
pub struct Goal {
    /// The median, in the unit of the figure.
    pub median: Option<f64>,
    /// The 99th of a hundred.
    pub p99: Option<f64>,
    /// The median beside that of the reference.
    pub ratio: Option<f64>,
}

impl Figure {
    pub const ALL: [Self; 16] = [
        Self::Start,
        Self::Noop,
        Self::Memory,
        Self::MemoryAll,
        Self::Shutdown,
        Self::Kill,
        Self::Displays,
        Self::DisplaysStalled,
        Self::Prints,
        Self::PrintsStalled,
        Self::InterruptWait,
        Self::InterruptCompute,
        Self::InterruptCommand,
        Self::ChildOutput,
        Self::RustFirst,
        Self::RustLater,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::Start => "start to kernel_info_reply",
            Self::Noop => "no-op cell to reply and idle",
            Self::Memory => "idle memory",
            Self::MemoryAll => "idle memory with children",
            Self::Displays => "10,000 displays",
            Self::DisplaysStalled => "the same, stalled client",
            Self::Prints => "10,000 prints",
            Self::PrintsStalled => "the same, stalled client",
            Self::InterruptWait => "interrupt while waiting",
            Self::InterruptCompute => "interrupt while computing",
            Self::InterruptCommand => "interrupt of a waiting command",
            Self::ChildOutput => "age of a child's line",
            Self::Shutdown => "shutdown to process end",
            Self::Kill => "kill -9 to first cell done",
            Self::RustFirst => "start to first Rust cell done",
            Self::RustLater => "later Rust cells",
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::Memory | Self::MemoryAll => "MiB",
            _ => "ms",
        }
    }

    pub fn goal(self) -> Goal {
        let median = |median| Goal {
            median: Some(median),
            ..Goal::default()
        };
        match self {
            Self::Start => Goal {
                median: Some(20.0),
                ratio: Some(1.0 / 15.0),
                p99: None,
            },
            Self::Noop => Goal {
                median: Some(0.4),
                p99: Some(1.5),
                ratio: Some(1.0 / 8.0),
            },
            Self::Memory
            | Self::MemoryAll
            | Self::InterruptWait
            | Self::InterruptCompute
            | Self::InterruptCommand => median(20.0),
            Self::ChildOutput => Goal {
                p99: Some(5.0),
                ..Goal::default()
            },
            Self::Displays | Self::DisplaysStalled => median(250.0),
            Self::Prints | Self::PrintsStalled => Goal::default(),
            Self::Shutdown => median(30.0),
            Self::Kill => median(150.0),
            Self::RustFirst | Self::RustLater => Goal {
                ratio: Some(1.0),
                ..Goal::default()
            },
        }
    }

    /// How many of the rounds take this figure: dear ones are taken less often.
    pub fn rounds(self, rounds: usize) -> usize {
        match self {
            Self::Start
            | Self::Noop
            | Self::Memory
            | Self::MemoryAll
            | Self::Shutdown
            | Self::Kill => rounds,
            Self::RustFirst
            | Self::RustLater
            | Self::InterruptWait
            | Self::InterruptCompute
            | Self::InterruptCommand
            | Self::ChildOutput => rounds.min(5),
            _ => rounds.min(7),
        }
    }
}
