use std::io;
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

type Task = Box<dyn FnOnce() + Send>;

/// Runs `start` on the thread that starts all sandboxes, in a new session keyring.
///
/// A session keyring belongs to a thread, and processes that the thread starts inherit it. So this
/// thread replaces its own keyring and leaves those of other threads alone. It must live as long as
/// the program: bubblewrap asks the kernel to kill it when the thread that started it ends.
pub(super) fn in_new_session<T: Send + 'static>(
    start: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = mpsc::sync_channel(1);
    let task: Task = Box::new(move || {
        let _ = answer.send(new_keyring().and_then(|()| start()));
    });
    let gone = || io::Error::other("the thread that starts sandboxes has ended");
    spawner()?.lock().unwrap_or_else(PoisonError::into_inner).send(task).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn spawner() -> io::Result<&'static Mutex<mpsc::Sender<Task>>> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Task>>> = OnceLock::new();
    if let Some(spawner) = SPAWNER.get() {
        return Ok(spawner);
    }
    let (sender, tasks) = mpsc::channel::<Task>();
    thread::Builder::new()
        .name("spawner".to_owned())
        .spawn(move || tasks.into_iter().for_each(|task| task()))?;
    // If another thread was faster, the new one ends without having started anything.
    Ok(SPAWNER.get_or_init(|| Mutex::new(sender)))
}

/// Gives the thread a new session keyring. Kernels without keyrings, and containers that forbid
/// keyrings to us too, have no keys to hide.
fn new_keyring() -> io::Result<()> {
    match keyutils::Keyring::join_anonymous_session() {
        Ok(_) => Ok(()),
        Err(error) if [libc::ENOSYS, libc::EPERM].contains(&error.0) => Ok(()),
        Err(error) => Err(io::Error::from_raw_os_error(error.0)),
    }
}
