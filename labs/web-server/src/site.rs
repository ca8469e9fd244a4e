//! The pages.

use std::panic;
use std::process;

use tracing::warn;

use crate::http::{Request, Response, Status};
use crate::work::Work;

/// The pages, the same in all four servers.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The work that `/` takes.
    pub work: Work,
    /// If true, `/crash` ends the whole process, as a wild pointer in a library would. Otherwise it panics.
    pub crash_is_fatal: bool,
}

impl Site {
    /// Whether the answer to this path takes almost no time.
    pub fn is_quick(path: &str) -> bool {
        !matches!(path, "/" | "/crash")
    }

    /// Does the work, and returns the answer; a 503 if the server was stopped before the work was done. `who` names the
    /// process or thread that does it, for the page.
    ///
    /// # Panics
    /// `/crash` panics or ends the process, on purpose.
    pub fn respond(&self, request: &Request, who: &str) -> Response {
        match request.path.as_str() {
            "/" => {
                let Some(took) = self.work.perform() else {
                    return Response::error(Status::ServiceUnavailable);
                };
                let took = took.as_secs_f64();
                Response::text(Status::Ok, format!("{who} took {took:.3} s for this"))
            }
            "/crash" if self.crash_is_fatal => process::abort(),
            "/crash" => panic!("somebody has asked for /crash"),
            _ => Response::error(Status::NotFound),
        }
    }
}

/// Makes a panic one line in the log.
pub fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("something that is no text");
        match info.location() {
            Some(location) => warn!("a thread has panicked at {location}: {text}"),
            None => warn!("a thread has panicked: {text}"),
        }
    }));
}
