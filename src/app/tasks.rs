//! Named tasks: one that ends by itself ends the process, by name; systemd starts it again.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::scan_thread::ScanThread;

/// The station's tasks. Dropped, they are cut off.
pub(super) struct Tasks {
    running: BTreeMap<String, JoinHandle<()>>,
    ended: mpsc::UnboundedSender<String>,
    hear: mpsc::UnboundedReceiver<String>,
}

impl Default for Tasks {
    fn default() -> Self {
        let (ended, hear) = mpsc::unbounded_channel();
        Self {
            running: BTreeMap::new(),
            ended,
            hear,
        }
    }
}

impl Tasks {
    /// Starts a task that must not end before it is asked to.
    pub(super) fn start(&mut self, name: String, task: impl Future<Output = ()> + Send + 'static) {
        let run = self.reported(&name, task);
        self.running.insert(name, tokio::spawn(run));
    }

    /// The same on the thread of a scan.
    pub(super) fn start_on(
        &mut self,
        thread: &ScanThread,
        name: String,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let run = self.reported(&name, task);
        self.running.insert(name, thread.spawn(run));
    }

    fn reported<T: Future<Output = ()>>(
        &self,
        name: &str,
        task: T,
    ) -> impl Future<Output = ()> + use<T> {
        let report = OnEnd(name.to_owned(), self.ended.clone());
        async move {
            let _report = report;
            task.await;
        }
    }

    /// Starts a task there that may end: a scanner whose stream has ended.
    pub(super) fn start_ending_on(
        &mut self,
        thread: &ScanThread,
        name: String,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.running.insert(name, thread.spawn(task));
    }

    /// Resolves with the name of a task that ended.
    pub(super) async fn one_ended(&mut self) -> String {
        self.hear.recv().await.unwrap_or_default()
    }

    /// Waits for a task's end, `patience` at most, then cuts it off.
    pub(super) async fn end(&mut self, name: &str, patience: Duration) {
        if let Some(mut task) = self.running.remove(name)
            && tokio::time::timeout(patience, &mut task).await.is_err()
        {
            tracing::warn!("{name} did not end in time and is cut off");
            task.abort();
        }
    }

    /// Waits for the end of all tasks whose names begin so, `patience` at most in all.
    pub(super) async fn end_all(&mut self, beginnings: &[&str], patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        let names: Vec<String> = self
            .running
            .keys()
            .filter(|name| {
                beginnings
                    .iter()
                    .any(|beginning| name.starts_with(beginning))
            })
            .cloned()
            .collect();
        for name in names {
            self.end(
                &name,
                deadline.saturating_duration_since(tokio::time::Instant::now()),
            )
            .await;
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

/// Tells the name of a task however it ends: by returning, or by a panic where panics unwind.
struct OnEnd(String, mpsc::UnboundedSender<String>);

impl Drop for OnEnd {
    fn drop(&mut self) {
        let _ = self.1.send(std::mem::take(&mut self.0));
    }
}
