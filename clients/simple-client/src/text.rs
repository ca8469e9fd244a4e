//! The text of the original: Python's log lines and Python's bytes.

use std::fmt;

use crate::Event;

/// Bytes as Python's `repr` writes them: `b'^abc$de^abte$f'`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = match self.0.contains(&b'\'') && !self.0.contains(&b'"') {
            true => '"',
            false => '\'',
        };
        write!(f, "b{quote}")?;
        for &byte in self.0 {
            match byte {
                b'\\' => f.write_str(r"\\")?,
                b'\n' => f.write_str(r"\n")?,
                b'\r' => f.write_str(r"\r")?,
                b'\t' => f.write_str(r"\t")?,
                b'\'' if quote == '\'' => f.write_str(r"\'")?,
                b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                _ => write!(f, r"\x{byte:02x}")?,
            }
        }
        write!(f, "{quote}")
    }
}

/// What the log says about an event: all that follows the time. It leaves out some events.
pub fn message(connection: usize, event: Event<'_>) -> Option<String> {
    match event {
        Event::Greeted => Some(format!("conn{connection} connected...")),
        Event::Sending(bytes) => Some(format!("conn{connection} sending {}", Bytes(bytes))),
        Event::Received(bytes) => Some(format!("conn{connection} received {}", Bytes(bytes))),
        Event::Disconnecting => Some(format!("conn{connection} disconnecting")),
        Event::Connected | Event::Failed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_python_writes_them() {
        let text = |bytes: &[u8]| Bytes(bytes).to_string();
        assert_eq!(text(b"^abc$"), "b'^abc$'");
        assert_eq!(text(b""), "b''");
        assert_eq!(text(b"it's"), "b\"it's\"");
        assert_eq!(text(b"\"it's\""), r#"b'"it\'s"'"#);
        assert_eq!(text(b"\\\t\n\r\0\x7f\xff ~"), r"b'\\\t\n\r\x00\x7f\xff ~'");
    }
}
