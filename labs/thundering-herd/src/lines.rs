//! Puts lines together again from the pieces that recv returns.

use nix::libc::PIPE_BUF;

/// A line that has not ended yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// A longer line is passed on in pieces, so a client cannot make us store without end. A printed piece fits into
    /// what a pipe keeps together, even if each byte becomes a replacement character of three.
    const LONGEST: usize = (PIPE_BUF - "4294967295 received: \n".len()) / 3;

    pub(crate) fn split(&mut self, input: &[u8], mut on_line: impl FnMut(&[u8])) {
        for line in input.split_inclusive(|&byte| byte == b'\n') {
            let mut rest = line;
            while !rest.is_empty() {
                let (piece, after) =
                    rest.split_at(rest.len().min(Self::LONGEST - self.unfinished.len()));
                self.unfinished.extend_from_slice(piece);
                rest = after;
                if self.unfinished.ends_with(b"\n") || self.unfinished.len() == Self::LONGEST {
                    on_line(&self.unfinished);
                    self.unfinished.clear();
                }
            }
        }
    }

    /// Passes on a last line that has no end of line.
    pub(crate) fn finish(&mut self, mut on_line: impl FnMut(&[u8])) {
        if !self.unfinished.is_empty() {
            on_line(&self.unfinished);
            self.unfinished.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut said = Vec::new();
        for piece in pieces {
            lines.split(piece, |line| said.push(line.to_vec()));
        }
        lines.finish(|line| said.push(line.to_vec()));
        said
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let whole = lines(&[b"one\ntwo\n\nthree"]);
        assert_eq!(whole, [&b"one\n"[..], b"two\n", b"\n", b"three"]);
        let bytes: Vec<&[u8]> = b"one\ntwo\n\nthree".chunks(1).collect();
        assert_eq!(lines(&bytes), whole);
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_pieces() {
        let said = lines(&[&[b'x'; 1000][..]; 10]);
        assert_eq!(said.concat().len(), 10_000);
        assert!(said.len() > 1);
    }
}
