use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;

use tokio::io::{AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::super::outcome::{Batch, Event, Failure, Summary};
use super::super::request::{Limits, Request, Target};
use super::super::warm::WarmStart;
use super::messages::{Command, Item, Report, receive, send, send_contents};
use crate::domain::spec::System;
use crate::sandbox::{forget_own_peak, own_peak};

/// Messages are sent together up to this size, in bytes.
const BUFFER: usize = 256 << 10;

/// Runs as the evaluator of a farm: evaluates what the standard input requests, until it is closed.
///
/// # Errors
/// When the farm takes no more results, or a request makes no sense.
pub async fn serve() -> io::Result<()> {
    let socket = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(socket)?.into_split();
    let (reader, writer) = (BufReader::new(reader), BufWriter::with_capacity(BUFFER, writer));
    let (sender, commands) = mpsc::channel(4);
    let served = tokio::select! {
        served = answer(writer, commands) => served,
        // The result of a running evaluation is of no use any more.
        read = listen(reader, sender) => read,
    };
    // A farm that was killed does not remove this directory.
    if let Some(directory) = std::env::var_os("TMPDIR") {
        let _ = fs_err::remove_dir(PathBuf::from(directory));
    }
    served
}

/// Passes commands on until the input ends.
async fn listen(mut reader: BufReader<OwnedReadHalf>, commands: mpsc::Sender<Command>) -> io::Result<()> {
    while let Some(command) = receive(&mut reader).await? {
        if commands.send(command).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn answer(
    mut writer: BufWriter<OwnedWriteHalf>,
    mut commands: mpsc::Receiver<Command>,
) -> io::Result<()> {
    let no = || io::Error::other("no request: this command is for Gorget itself");
    let Some(Command::Begin(request)) = commands.recv().await else { return Err(no()) };
    let mut warm = None;
    while let Some(command) = commands.recv().await {
        let Command::Evaluate { system, likely, limits } = command else { return Err(no()) };
        let system = System::new(&system).ok_or_else(no)?;
        let wanted = Target { system, likely: likely.into_iter().collect() };
        forget_own_peak();
        let (result, mut measured) = match begun(&mut warm, &request, limits) {
            Ok(warm) => {
                let result = evaluate(warm, wanted, &mut writer, &mut commands).await?;
                (result, warm.measured().clone())
            }
            Err(failure) => (Err(failure), Summary::default()),
        };
        measured.evaluator_peak_memory = own_peak();
        // The farm detects faults of the machine itself.
        let result = result.map_err(|failure| match failure {
            Failure::Start(error) => Failure::Evaluator(error.to_string()),
            failure => failure,
        });
        send(&mut writer, &Report::Ended { result, measured: Box::new(measured) }).await?;
        writer.flush().await?;
    }
    Ok(())
}

/// The warm start for `request`; starts one if there is none.
fn begun<'a>(
    warm: &'a mut Option<WarmStart>,
    request: &Request,
    limits: Limits,
) -> Result<&'a mut WarmStart, Failure> {
    if warm.is_none() {
        *warm = Some(WarmStart::start(request.clone())?);
    }
    let warm = warm.as_mut().ok_or(Failure::Abandoned)?;
    warm.set_limits(limits);
    Ok(warm)
}

/// Evaluates, and sends the events.
async fn evaluate(
    warm: &mut WarmStart,
    wanted: Target,
    writer: &mut BufWriter<OwnedWriteHalf>,
    commands: &mut mpsc::Receiver<Command>,
) -> io::Result<Result<(), Failure>> {
    // One batch waits while another is recorded.
    let (events, received) = mpsc::channel(1);
    let (result, sent) = tokio::join!(
        async {
            let result = warm.evaluate(wanted, &events).await;
            drop(events);
            result
        },
        send_all(received, writer, commands),
    );
    sent?;
    Ok(result.map(drop))
}

async fn send_all(
    mut events: mpsc::Receiver<Event>,
    writer: &mut BufWriter<OwnedWriteHalf>,
    commands: &mut mpsc::Receiver<Command>,
) -> io::Result<()> {
    while let Some(event) = events.recv().await {
        match event {
            Event::Enumerated { units } => {
                send(writer, &Report::Enumerated(units)).await?;
                writer.flush().await?;
            }
            Event::Batch(Batch { items, outcomes, done, pending_guard }) => {
                for item in items {
                    let mut item = Item::from(item);
                    let contents = std::mem::take(&mut item.contents);
                    send(writer, &Report::Added(item)).await?;
                    send_contents(writer, &contents).await?;
                }
                for outcome in outcomes {
                    send(writer, &Report::Found(outcome.into())).await?;
                }
                send(writer, &Report::Batch { done }).await?;
                writer.flush().await?;
                let Some(Command::Recorded) = commands.recv().await else {
                    return Err(io::Error::other("the receiver of the results is gone"));
                };
                drop(pending_guard);
            }
        }
    }
    Ok(())
}
