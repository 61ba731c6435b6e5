//! Numbers: well formed, and finite as a double.

use super::{Fault, FaultKind, Scanner};

/// A number of fewer digits, without an exponent, is always finite: the
/// largest double has 309.
const ALWAYS_FINITE_BYTES: usize = 300;

impl Scanner<'_> {
    /// Steps over the number that starts here.
    pub(super) fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            Some(_) | None => return Err(self.fault(FaultKind::Number)),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        let exponent = matches!(self.byte(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        // `01`, `1.2.3`, `1-2`: what follows a number is never part of one.
        if matches!(self.byte(), Some(b'0'..=b'9' | b'.' | b'-' | b'+')) {
            return Err(self.fault(FaultKind::Number));
        }
        if (exponent || self.at - start > ALWAYS_FINITE_BYTES) && !self.is_finite(start) {
            return Err(Fault {
                kind: FaultKind::OutOfRange,
                at: start,
            });
        }
        Ok(())
    }

    fn is_finite(&self, start: usize) -> bool {
        self.slice(start, self.at)
            .parse::<f64>()
            .is_ok_and(f64::is_finite)
    }

    fn some_digits(&mut self) -> Result<(), Fault> {
        if !matches!(self.byte(), Some(b'0'..=b'9')) {
            return Err(self.fault(FaultKind::Number));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}
