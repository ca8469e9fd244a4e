//! Out of descriptors.

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use crate::client::{Client, Failure, Outcome, ensure, is_timeout, patience, wait_until};
use crate::{Case, Promise, Target};

pub(super) const CASES: &[Case] = &[Case {
    name: "out-of-descriptors",
    promise: Promise::Descriptors,
    about: "with 40 descriptors and 60 peers: some are served, none waits for ever, it says so once, does not spin, and \
            serves again when there is room",
    needs_process: true,
    obstacle: || None,
    run: out_of_descriptors,
}];

/// A stranger's server may also leave the peers that it has no room for in the backlog, and say so in its own words.
fn out_of_descriptors(target: &Target) -> Outcome {
    /// How long a peer is looked at that may be left in the backlog.
    const LOOK: Duration = Duration::from_millis(500);
    let may_leave_waiting = matches!(target, Target::Unannounced(..));
    let server = target.start_with(Some(40), &[])?;
    let (mut present, mut waiting) = (Vec::new(), Vec::new());
    let mut refused = 0;
    for _ in 0..60 {
        let mut client = Client::connect(server.address())?;
        if !waiting.is_empty() {
            waiting.push(client); // behind the other one
            continue;
        }
        if may_leave_waiting {
            client.stream.set_read_timeout(Some(LOOK))?;
        }
        let mut greeting = [0];
        match client.read(&mut greeting) {
            Ok(1) if greeting == *b"*" => {
                client.stream.set_read_timeout(Some(patience()))?;
                present.push(client);
            }
            Ok(1) => return Err(Failure(format!("greeted with {:?}", greeting.escape_ascii()))),
            // Sent away: the end, or a reset.
            Ok(_) => refused += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => refused += 1,
            Err(error) if is_timeout(&error) && may_leave_waiting => {
                client.stream.set_read_timeout(Some(patience()))?;
                waiting.push(client);
            }
            Err(error) if is_timeout(&error) => {
                return Err(Failure(format!(
                    "with {} peers connected another one is neither served nor sent away",
                    present.len()
                )));
            }
            Err(error) => return Err(error.into()),
        }
    }
    ensure(present.len() >= 10, || format!("only {} of 60 were served", present.len()))?;
    refused += waiting.len();
    ensure(refused >= 10, || format!("only {refused} of 60 were refused: is the limit in force?"))?;
    for client in &mut present {
        client.echo(b"^still here$")?;
    }

    // It waits for news of the present peers now, and of new ones; it must not ask for them over and over.
    if let Some(before) = server.cpu_time() {
        thread::sleep(Duration::from_secs(1));
        let used = server.cpu_time().unwrap_or_default().saturating_sub(before);
        // A server that spins gets less than a core on a machine that is busy with other things.
        ensure(used < Duration::from_millis(150), || {
            format!("{used:?} of CPU time in one idle second")
        })?;
    }

    present.truncate(5);
    for mut client in waiting.into_iter().take(5) {
        client.expect_greeting().and_then(|()| client.echo(b"^at last$")).map_err(
            |Failure(text)| Failure(format!("a peer that waited until others have left: {text}")),
        )?;
    }
    wait_until("served again after some have left", || {
        Client::greeted(server.address()).is_ok_and(|mut client| client.echo(b"^new$").is_ok())
    })?;
    if let Target::Unannounced(..) = target {
        return Ok(());
    }
    let finished = server.stop()?;
    let warnings = finished.stderr.lines().filter(|line| line.contains("WARN")).count();
    ensure(warnings >= 1, || "nothing in the log says that peers were refused".to_owned())?;
    ensure(warnings <= 5, || format!("{warnings} warnings for one shortage"))?;
    ensure(finished.status.success(), || format!("it ended with {}", finished.status)).map_err(
        |Failure(text)| {
            Failure(format!("{text}: {}", finished.stderr.lines().last().unwrap_or_default()))
        },
    )
}
