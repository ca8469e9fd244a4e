//! What there is to see.

use std::panic;
use std::process;

use tracing::warn;

use crate::http::{Request, Response, Status};
use crate::work::Work;

/// The pages, the same in all four servers.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// What `/` takes.
    pub work: Work,
    /// Whether `/crash` ends the whole process, as a wild pointer in a library would, or panics.
    pub crash_is_fatal: bool,
}

impl Site {
    /// Whether the answer to this path takes no time worth mentioning.
    pub fn is_quick(path: &str) -> bool {
        !matches!(path, "/" | "/crash")
    }

    /// The answer to a request, when the work is done; or a 503 if that was not to be. `who` is who does it, for the page to say.
    ///
    /// # Panics
    /// `/crash` does, or ends the process: that is what it is for.
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

/// Has a panic be one line in the log.
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
