//! The protocol's definition, one byte at a time: too simple to be wrong. [`Session`](crate::Session) and the servers
//! are tested against it.

use crate::{BEGIN, END};

/// All that is owed for `input`, after the greeting.
pub fn reply_to(input: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    let mut in_message = false;
    for &byte in input {
        match (in_message, byte) {
            (false, BEGIN) => in_message = true,
            (false, _) => {}
            (true, END) => in_message = false,
            (true, byte) => reply.push(byte.wrapping_add(1)),
        }
    }
    reply
}
