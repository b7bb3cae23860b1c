use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// A running cell's view of the stop button. The first request means: stop at a safe point; the second:
/// stop now.
#[derive(Debug, Clone)]
pub struct Interrupt {
    count: watch::Receiver<u32>,
    kernel_ends: Arc<AtomicBool>,
}

impl Interrupt {
    /// Waits until the cell is asked to stop; returns at once where it was already.
    ///
    /// # Cancel safety
    /// Nothing is lost when this is dropped.
    pub async fn requested(&self) {
        self.at_least(1).await;
    }

    /// Waits until the cell is asked a second time: stop now.
    ///
    /// # Cancel safety
    /// Nothing is lost when this is dropped.
    pub async fn insisted(&self) {
        self.at_least(2).await;
    }

    /// Returns how often the cell was asked to stop.
    #[must_use]
    pub fn count(&self) -> u32 {
        *self.count.borrow()
    }

    /// Returns whether the cell is asked to stop because the kernel ends, and not by a person.
    #[must_use]
    pub fn kernel_ends(&self) -> bool {
        self.kernel_ends.load(Ordering::Acquire)
    }

    async fn at_least(&self, times: u32) {
        let mut count = self.count.clone();
        if count.wait_for(|count| *count >= times).await.is_err() {
            // The cell has ended: nobody can ask it any more.
            std::future::pending::<()>().await;
        }
    }
}

/// The cells that run now, so that a stop request finds the right one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Running {
    cells: Arc<Mutex<Vec<Arc<RunningCell>>>>,
    kernel_ends: Arc<AtomicBool>,
}

#[derive(Debug)]
struct RunningCell {
    main_shell: bool,
    count: watch::Sender<u32>,
}

/// Held while a cell runs.
#[derive(Debug)]
pub(crate) struct RunningGuard {
    running: Running,
    cell: Arc<RunningCell>,
}

impl Running {
    pub(crate) fn start(&self, main_shell: bool) -> (RunningGuard, Interrupt) {
        let (sender, count) = watch::channel(0);
        let cell = Arc::new(RunningCell {
            main_shell,
            count: sender,
        });
        let mut cells = self.lock();
        cells.push(Arc::clone(&cell));
        // Every cell that was there had been told before.
        if self.kernel_ends.load(Ordering::Acquire) {
            cell.count.send_modify(|count| *count = 2);
        }
        drop(cells);
        (
            RunningGuard {
                running: self.clone(),
                cell,
            },
            Interrupt {
                count,
                kernel_ends: Arc::clone(&self.kernel_ends),
            },
        )
    }

    /// Asks the cell of the main shell to stop, or those of the subshells where the main shell is idle:
    /// a stop request does not say whom it means, and the main shell holds the long work.
    pub(crate) fn interrupt(&self) -> usize {
        let cells = self.lock();
        let main = cells.iter().any(|cell| cell.main_shell);
        let chosen = cells.iter().filter(|cell| cell.main_shell == main);
        chosen
            .map(|cell| cell.count.send_modify(|count| *count += 1))
            .count()
    }

    /// Asks every cell to stop now, because the kernel ends.
    pub(crate) fn interrupt_all_now(&self) {
        self.kernel_ends.store(true, Ordering::Release);
        for cell in self.lock().iter() {
            cell.count.send_modify(|count| *count = (*count + 2).max(2));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<RunningCell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.running
            .lock()
            .retain(|cell| !Arc::ptr_eq(cell, &self.cell));
    }
}
