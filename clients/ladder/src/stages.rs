//! The ladder's steps, and what there is to say of each.

use std::io;

/// A stage, as the ladder knows it; or another server that is measured like one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The package that it is in.
    pub package: &'static str,
    /// Its binary, and its name in all that is printed.
    pub server: &'static str,
    /// Where its chapter is, from the root of the workspace.
    pub chapter: &'static str,
    /// Whether it serves one client at a time: N clients then take N times as long, and a large N an hour.
    pub sequential: bool,
    /// What a picture calls it.
    pub name: &'static str,
    /// What it does, in few words.
    pub idea: &'static str,
    /// What its picture shows, whatever was measured.
    pub look: &'static str,
}

impl Stage {
    /// What [`build`](crate::build()) calls it.
    pub fn target(&self) -> String {
        format!("{}/{}", self.package, self.server)
    }

    /// Its number, if it is a step of the course.
    pub fn number(&self) -> Option<&'static str> {
        self.server.strip_prefix("step")?.split('-').next()
    }

    /// The one of this name.
    pub fn named(server: &str) -> Option<Self> {
        servers().find(|stage| stage.server == server)
    }
}

/// The ladder. A stage joins by an entry here; one that is not in the workspace is passed over.
pub const STAGES: &[Stage] = &[
    Stage {
        package: "step1-sequential",
        server: "step1-sequential",
        chapter: "step1-sequential/README.md",
        sequential: true,
        name: "sequential",
        idea: "one client after another",
        look: "The thread sleeps in the recv of one client; the others wait in the backlog.",
    },
    Stage {
        package: "step2-thread-per-client",
        server: "step2-thread-per-client",
        chapter: "step2-thread-per-client/README.md",
        sequential: false,
        name: "thread per client",
        idea: "a thread for each client",
        look: "Each thread sleeps in the recv of its own client; main sleeps in accept.",
    },
    Stage {
        package: "step3-blocking",
        server: "step3-blocking",
        chapter: "step3-blocking/README.md",
        sequential: true,
        name: "blocking",
        idea: "one thread, one recv at a time",
        look: "The same picture as step 1: a thread that sleeps in a recv hears nobody else.",
    },
    Stage {
        package: "step4-nonblocking-poll",
        server: "step4-nonblocking-poll",
        chapter: "step4-nonblocking-poll/README.md",
        sequential: false,
        name: "polling",
        idea: "ask everybody, over and over",
        look: "The thread sleeps, asks every client, and sleeps again.",
    },
    Stage {
        package: "step5-select",
        server: "step5-select",
        chapter: "step5-select/README.md",
        sequential: false,
        name: "select",
        idea: "ask the kernel about all",
        look: "The thread sleeps in select, for all clients at once.",
    },
    Stage {
        package: "step6-epoll-kqueue",
        server: "step6-epoll-kqueue",
        chapter: "step6-epoll-kqueue/README.md",
        sequential: false,
        name: "epoll and kqueue",
        idea: "the kernel remembers the list",
        look: "At this scale the same picture as step 5: the thread sleeps for all clients at once.",
    },
    Stage {
        package: "step7-event-loop",
        server: "step7-event-loop",
        chapter: "step7-event-loop/README.md",
        sequential: false,
        name: "event loop",
        idea: "callbacks, timers, a pool",
        look: "At this scale the same picture as step 6: the loop sleeps, and calls back when it wakes.",
    },
];

/// The same server in a lab: measured if it is asked for.
pub const LAB_SERVERS: &[Stage] = &[
    Stage {
        package: "async-await",
        server: "async-echo",
        chapter: "labs/async-await/README.md",
        sequential: false,
        name: "async-echo",
        idea: "a task for each client",
        look: "All tasks sleep at .await at the same time, on one thread that sleeps for all of them.",
    },
    Stage {
        package: "async-await",
        server: "tokio-echo",
        chapter: "labs/async-await/README.md",
        sequential: false,
        name: "tokio-echo",
        idea: "the same tasks on Tokio",
        look: "Only the calls of the server itself are drawn: Tokio's own waits are not.",
    },
];

/// All of them.
pub fn servers() -> impl Iterator<Item = Stage> {
    STAGES.iter().chain(LAB_SERVERS).copied()
}

/// The servers that `names` select: a stage by its number (`4`), any server by part of its name (`poll`, `echo`). If
/// there are no names: the stages, and with `all` the labs' servers too.
///
/// # Errors
/// A name that selects nothing.
pub fn select(names: &[String], all: bool) -> io::Result<Vec<Stage>> {
    let matches = |stage: &Stage, name: &str| match name.parse::<u32>() {
        Ok(number) => stage.server.starts_with(&format!("step{number}-")),
        Err(_) => stage.server.contains(name),
    };
    for name in names {
        if !servers().any(|stage| matches(&stage, name)) {
            let names: Vec<_> = servers().map(|stage| stage.server).collect();
            return Err(io::Error::other(format!(
                "no stage is called {name}; there are {}",
                names.join(", ")
            )));
        }
    }
    let selected = |stage: &Stage| match names {
        [] => all || STAGES.contains(stage),
        names => names.iter().any(|name| matches(stage, name)),
    };
    Ok(servers().filter(selected).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(names: &[&str], all: bool) -> Vec<&'static str> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        select(&names, all).unwrap().iter().map(|stage| stage.server).collect()
    }

    #[test]
    fn without_names_it_is_the_stages_and_with_all_the_labs_servers_too() {
        assert_eq!(selected(&[], false).len(), STAGES.len());
        let all = selected(&[], true);
        assert_eq!(all.len(), STAGES.len() + 2);
        assert_eq!(all[STAGES.len()..], ["async-echo", "tokio-echo"]);
    }

    #[test]
    fn names_select_any_server_and_numbers_only_stages() {
        for all in [false, true] {
            assert_eq!(selected(&["echo"], all), ["async-echo", "tokio-echo"]);
            assert_eq!(selected(&["async-echo", "6"], all), ["step6-epoll-kqueue", "async-echo"]);
            assert!(select(&["8".to_owned()], all).is_err());
        }
        assert_eq!(selected(&["poll"], false), ["step4-nonblocking-poll", "step6-epoll-kqueue"]);
    }
}
