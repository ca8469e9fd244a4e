//! The pictures that the chapters show: recorded from real runs, and drawn from what was recorded.
//!
//! [`record`] takes a minute and a half and writes a file for each run. [`draw`] needs these files and nothing else, and
//! draws the same from them on every machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::measure::ISPRIME_SERVER;
use crate::picture::crowd::crowd;
use crate::picture::two_numbers::two_numbers;
use crate::picture::{lanes, overview, zoom};
use crate::runs::{record_crowd, record_two_numbers};
use crate::timeline::Timeline;
use crate::{Executables, Measurement, Picture, STAGES, Settings, build, machine, measure};

/// A stage's run.
#[derive(Serialize, Deserialize)]
struct Recording {
    machine: String,
    measurement: Measurement,
    timeline: Timeline,
}

const CROWD: &str = "web-pool";

/// Runs everything that the pictures show, and writes it down in the folder `to`. `progress` is told what runs.
///
/// # Errors
/// A server does not build, start, answer rightly or stop, or a file cannot be written.
pub fn record(to: &Path, profile: &str, progress: impl Fn(&str)) -> io::Result<()> {
    let mut targets: Vec<_> = STAGES.iter().map(|stage| stage.target()).collect();
    targets.push(format!("step7-event-loop/{ISPRIME_SERVER}"));
    targets.push("web-server/web-pool".to_owned());
    let executables = build(&targets, profile)?;
    fs::create_dir_all(to)?;
    for &stage in STAGES {
        progress(stage.server);
        let settings =
            Settings { clients: 5, sequential_max: 5, delay: 1.0, verbose: false, timeline: true };
        let mut measurement =
            measure(executable(&executables, stage.server)?, stage, &settings, |_| {})?;
        let timeline = measurement.timeline.take().unwrap_or_default();
        let recording = Recording { machine: machine(), measurement, timeline };
        write(to, stage.server, &recording)?;
    }
    progress(ISPRIME_SERVER);
    write(to, ISPRIME_SERVER, &record_two_numbers(executable(&executables, ISPRIME_SERVER)?)?)?;
    progress(CROWD);
    write(to, CROWD, &record_crowd(executable(&executables, CROWD)?)?)
}

/// Draws what was recorded in the folder `from`.
///
/// # Errors
/// A recording is missing, or is none.
pub fn draw(from: &Path) -> io::Result<Vec<Picture>> {
    let mut measurements = Vec::new();
    for stage in STAGES {
        let Recording { mut measurement, timeline, .. } = read(from, stage.server)?;
        measurement.timeline = Some(timeline);
        measurements.push(measurement);
    }
    let mut pictures = vec![overview::overview(&measurements)];
    pictures.extend(of_stages(&measurements));
    pictures.extend(zoom::zoom(&measurements));
    pictures.extend(two_numbers(&read(from, ISPRIME_SERVER)?));
    pictures.extend(crowd(&read(from, CROWD)?));
    Ok(pictures)
}

/// A picture of each that has a timeline, all on the same axis.
pub(crate) fn of_stages(measurements: &[Measurement]) -> Vec<Picture> {
    let longest = measurements.iter().map(|m| m.elapsed).fold(0.0, f64::max);
    let drawn = |m: &Measurement| Some(lanes::stage(m, m.timeline.as_ref()?, longest));
    measurements.iter().filter_map(drawn).collect()
}

fn executable<'a>(executables: &'a Executables, name: &str) -> io::Result<&'a PathBuf> {
    executables.get(name).ok_or_else(|| io::Error::other(format!("{name} was not built")))
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

fn write(folder: &Path, name: &str, recording: &impl Serialize) -> io::Result<()> {
    // A line for each lane, so that people can read it too.
    let json = serde_json::to_string(recording)?.replace("{\"name\":", "\n{\"name\":");
    fs::write(path(folder, name), json + "\n")
}

fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<T> {
    let path = path(folder, name);
    let named = |error: &dyn std::fmt::Display| {
        io::Error::other(format!("cannot read {}: {error}", path.display()))
    };
    let text = fs::read_to_string(&path).map_err(|error| named(&error))?;
    serde_json::from_str(&text).map_err(|error| named(&error))
}
