//! Standard error and standard output: lines are queued, a thread of their own writes them, and nobody waits for who reads.
//!
//! What does not fit is dropped and counted.
//!
//! Whoever reads may be slow, stopped or gone: a full pipe, a terminal under Ctrl-S, a journald that hangs.

use std::{
    io::{self, Write},
    mem,
    os::fd::AsFd,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

/// Bytes that may wait for a reader: some hundred lines, on top of what a pipe holds.
const ROOM: usize = 128 * 1024;

/// The log, on standard error.
pub static LOG: Stream = Stream::new("the log", ROOM);
/// The result lines, on standard output.
pub static RESULTS: Stream = Stream::new("standard output", ROOM);

/// Lines on their way to a reader who may not read.
#[derive(Debug)]
pub struct Stream {
    name: &'static str,
    room: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    started: bool,
    waiting: Vec<u8>,
    writing: bool,
    /// Lines dropped since the reader last had everything.
    missed: u64,
}

impl Stream {
    const fn new(name: &'static str, room: usize) -> Self {
        let queue = Queue {
            started: false,
            waiting: Vec::new(),
            writing: false,
            missed: 0,
        };
        Self {
            name,
            room,
            queue: Mutex::new(queue),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Starts the thread that writes to `out`. A second start changes nothing.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(&'static self, out: impl AsFd + Send + 'static) -> io::Result<()> {
        self.write_to(Unlocked(out))
    }

    fn write_to(&'static self, mut out: impl Write + Send + 'static) -> io::Result<()> {
        if !mem::replace(&mut self.lock().started, true) {
            thread::Builder::new()
                .name(self.name.to_owned())
                .spawn(move || self.write_all(&mut out))?;
        }
        Ok(())
    }

    /// Queues whole lines, or drops them. Never waits for the reader.
    pub fn push(&self, lines: &[u8]) {
        let mut queue = self.lock();
        if queue.waiting.len() + lines.len() > self.room {
            self.miss(&mut queue, lines);
        } else {
            queue.waiting.extend_from_slice(lines);
            // Unlocked first: otherwise the thread would wake up only to wait for the lock.
            drop(queue);
            self.changed.notify_all();
        }
    }

    /// How many lines were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything queued is written, but not for longer than `patience`. Says whether it is.
    pub fn finish(&self, patience: Duration) -> bool {
        let busy =
            |queue: &mut Queue| queue.started && (queue.writing || !queue.waiting.is_empty());
        let waited = self.changed.wait_timeout_while(self.lock(), patience, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn write_all(&self, out: &mut impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut queue = self.lock();
            queue.writing = false;
            self.changed.notify_all();
            let mut queue = self
                .changed
                .wait_while(queue, |queue| queue.waiting.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut queue.waiting, &mut lines);
            queue.writing = true;
            drop(queue);
            let written = out.write_all(&lines);
            let mut queue = self.lock();
            if written.is_err() {
                // A reader that is gone may come back, as a terminal does; each try is cheap.
                self.miss(&mut queue, &lines);
            } else if queue.missed > 0 && queue.waiting.is_empty() {
                let missed = mem::take(&mut queue.missed);
                drop(queue);
                tracing::warn!(
                    lines = missed,
                    "{} was not read for a while: lines were dropped",
                    self.name
                );
            }
            lines.clear();
        }
    }

    fn miss(&self, queue: &mut Queue, lines: &[u8]) {
        let many = lines.split_inclusive(|byte| *byte == b'\n').count() as u64;
        queue.missed += many;
        self.dropped.fetch_add(many, Ordering::Relaxed);
    }

    /// Held for a copy of a line, never for a write.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for who writes in the manner of [`io`].
impl Write for &Stream {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.push(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes past the standard library's lock, which a write that hangs would hold for ever: at its end the process asks for it.
struct Unlocked<T>(T);

impl<T: AsFd> Write for Unlocked<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(&self.0, bytes) {
            // Whoever started us may have switched waiting off.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                Err(io::ErrorKind::Interrupted.into())
            }
            written => Ok(written?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::{
        io::Read,
        sync::{Arc, mpsc},
        time::Instant,
    };

    use super::*;

    const LINE: &[u8] = b"a line of sixteen\n";
    const SOON: Duration = Duration::from_secs(10);

    /// A writer that keeps what it gets, and waits for leave to take it; without anybody to give leave it fails.
    struct Slow {
        written: Arc<Mutex<Vec<u8>>>,
        leave: mpsc::Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.leave
                .recv()
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A stream with room for four lines, who gives leave to its writer, and what is written.
    fn slow() -> (&'static Stream, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let stream: &Stream = Box::leak(Box::new(Stream::new("a test", 4 * LINE.len())));
        let (leave, given) = mpsc::channel();
        let written = Arc::default();
        stream
            .write_to(Slow {
                written: Arc::clone(&written),
                leave: given,
            })
            .unwrap();
        (stream, leave, written)
    }

    /// Waits until the writer has taken its first line in hand.
    fn in_hand(stream: &Stream) {
        stream.push(LINE);
        let end = Instant::now() + SOON;
        while !stream.lock().writing {
            assert!(Instant::now() < end);
            thread::yield_now();
        }
    }

    #[test]
    fn every_line_is_written_before_the_end() {
        let (stream, leave, written) = slow();
        for _ in 0..3 {
            stream.push(LINE);
            leave.send(()).unwrap();
        }
        assert!(stream.finish(SOON));
        assert_eq!(*written.lock().unwrap(), LINE.repeat(3));
        assert_eq!(stream.dropped(), 0);
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_and_what_it_misses_is_counted() {
        let (stream, leave, written) = slow();
        in_hand(stream);
        let began = Instant::now();
        for _ in 0..1_000 {
            stream.push(LINE);
        }
        assert_eq!(stream.dropped(), 996, "there is room for four");
        assert!(
            !stream.finish(Duration::from_millis(50)),
            "and the end does not wait for it for long"
        );
        assert!(began.elapsed() < Duration::from_secs(2));
        for _ in 0..2 {
            leave.send(()).unwrap();
        }
        assert!(stream.finish(SOON));
        assert_eq!(*written.lock().unwrap(), LINE.repeat(5), "no line is cut");
        stream.push(LINE);
        leave.send(()).unwrap();
        assert!(stream.finish(SOON), "it goes on");
        assert_eq!(
            (stream.dropped(), stream.lock().missed),
            (996, 0),
            "and what was missed has been told"
        );
    }

    #[test]
    fn a_reader_that_is_gone_holds_nobody_up_and_its_lines_are_counted() {
        let (stream, leave, _) = slow();
        drop(leave);
        for _ in 0..100 {
            stream.push(LINE);
        }
        assert!(stream.finish(SOON));
        assert_eq!(stream.dropped(), 100);
    }

    #[test]
    fn a_pipe_that_was_told_not_to_wait_gets_every_line_all_the_same() {
        let stream: &Stream = Box::leak(Box::new(Stream::new("a test", ROOM)));
        let (mut reader, pipe) = io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK).unwrap();
        stream.start(pipe).unwrap();
        let many = ROOM / LINE.len();
        (0..many).for_each(|_| stream.push(LINE));
        let mut text = vec![0; many * LINE.len()];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(text, LINE.repeat(many));
        assert!(stream.finish(SOON));
        assert_eq!(stream.dropped(), 0);
    }
}
