//! The thread of a scan: scanners, station and sources run on it alone.
//!
//! So a scan is not handed from one thread to another on its way, and nothing of the publisher's comes between.

use std::{future::Future, io, thread};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// A thread with a runtime of its own. Dropped, it ends.
pub(super) struct ScanThread {
    runtime: Handle,
    _end: oneshot::Sender<()>,
}

impl ScanThread {
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("station".to_owned())
            .spawn(move || {
                let _ = runtime.block_on(ended);
                runtime.shutdown_background();
            })?;
        Ok(Self {
            runtime: handle,
            _end: end,
        })
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }
}
